# shellcheck shell=bash disable=SC2154
# sanitize.sh - the runs of ./do sanitize, which sources this file and sets $how.

supp=$PWD/tests/support
supp_of() { [[ ! -f $supp/$1.supp ]] || echo "$2$supp/$1.supp"; }

ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
LSAN_OPTIONS=print_suppressions=0$(supp_of lsan :suppressions=)
UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1$(supp_of ubsan :suppressions=)
TSAN_OPTIONS=die_after_fork=0:second_deadlock_stack=1$(supp_of tsan :suppressions=)
export ASAN_OPTIONS LSAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS

if [[ $how == all ]]; then
	build_and_test build-asan "-Db_sanitize=address,undefined" -- --setup full -t 4
	build_and_test build-check -Dcheck=3 -- --setup full -t 4
else
	build_and_test build-asan "-Db_sanitize=address,undefined" -- --suite unit --suite proc -t 4
fi

# gcc 12's TSan finds no place for its shadow where the kernel randomizes more than 28 bits;
# some containers forbid turning that off.
aslr=()
! setarch -R true 2>/dev/null || aslr=(--wrap 'setarch -R')
build_and_test build-tsan -Db_sanitize=thread -- --suite unit -t 10 "${aslr[@]}"

memcheck="valgrind -q --error-exitcode=99 --vex-iropt-register-updates=allregs-at-mem-access --leak-check=full --errors-for-leak-kinds=definite"
memcheck+=$(supp_of valgrind ' --suppressions=')
build_and_test build -- --suite unit -t 20 --wrap "$memcheck"
