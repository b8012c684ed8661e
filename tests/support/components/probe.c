/* What a program of a WASI preview 2 component sees: arguments, variables, files, streams, and how it ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *next = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(word, "say")) { fputs(next, stdout); fflush(stdout); i++; }
        else if (!strcmp(word, "err")) { fputs(next, stderr); i++; }
        else if (!strcmp(word, "env")) { for (char **e = environ; *e; e++) { fputs(*e, stdout); putchar(0); } }
        else if (!strcmp(word, "cat")) {
            FILE *f = fopen(next, "r"); int c;
            if (!f) return 111;
            while ((c = getc(f)) != EOF) putchar(c);
            fclose(f); i++;
        }
        else if (!strcmp(word, "write")) {
            FILE *f = fopen(next, "w");
            if (!f || i + 2 >= argc) return 112;
            fputs(argv[i + 2], f); fclose(f); i += 2;
        }
        else if (!strcmp(word, "grow")) { volatile char *at; while ((at = malloc(1 << 20))) *at = 1; puts("full"); }
        else if (!strcmp(word, "loop")) { fflush(stdout); for (volatile int on = 1; on;) {} }
        else if (!strcmp(word, "sleep")) { fflush(stdout); for (;;) sleep(3600); }
        else if (!strcmp(word, "trap")) { fflush(stdout); __builtin_trap(); }
        else if (!strcmp(word, "exit")) { exit(atoi(next)); }
        else { fprintf(stderr, "what is %s?\n", word); return 2; }
    }
    return 0;
}
