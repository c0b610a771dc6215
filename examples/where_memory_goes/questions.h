/* questions.h - one function a question, each called in a process of its own. */
#ifndef WHERE_QUESTIONS_H
#define WHERE_QUESTIONS_H

void ask_how_much(void);      /* block.c */
void ask_if_physical(void);   /* touch.c */
void ask_faults(void);
void ask_what_comes_back(void); /* back.c */
void ask_who_knows_size(void); /* block.c */
void ask_larger_than_ram(void); /* ceiling.c */
void ask_fork(void);          /* fork.c */
void ask_pressure(void);      /* pressure.c */

/* plot.c: both heaps grow and shrink in step; the picture goes to path. */
void plot(const char *path);

#endif
