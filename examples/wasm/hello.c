/* The module of several examples: greets, and does what its options say.
 *
 * Usage: hello [--env] [--read FILE] [--save FILE] [--every SECONDS] [NAME ...]
 *
 * Prints `GREETING, NAME!` for every NAME (world where none is given), with the text of the environment variable
 * GREETING, else `Hello`. --env prints the whole environment, sorted; --read copies a file to standard output; --save
 * writes the greetings to a file as well; --every greets again and again until it is stopped. Exit code 1 where a file
 * cannot be read or written.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static void fail(const char *what, const char *which) {
    fprintf(stderr, "hello: cannot %s %s: %s\n", what, which, strerror(errno));
    exit(1);
}

static void copy(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) fail("read", path);
    char text[4096];
    size_t got;
    while ((got = fread(text, 1, sizeof text, file)) > 0) fwrite(text, 1, got, stdout);
    if (ferror(file)) fail("read", path);
    fclose(file);
}

static int by_name(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static void tell_environment(void) {
    size_t count = 0;
    while (environ[count] != NULL) count++;
    qsort(environ, count, sizeof *environ, by_name);
    for (size_t at = 0; at < count; at++) puts(environ[at]);
}

int main(int argc, char **argv) {
    const char *greeting = getenv("GREETING");
    const char *save = NULL;
    int names = 0, every = 0;
    if (greeting == NULL) greeting = "Hello";
    for (int at = 1; at < argc; at++) {
        int has_value = at + 1 < argc;
        if (strcmp(argv[at], "--env") == 0) tell_environment();
        else if (strcmp(argv[at], "--read") == 0 && has_value) copy(argv[++at]);
        else if (strcmp(argv[at], "--save") == 0 && has_value) save = argv[++at];
        else if (strcmp(argv[at], "--every") == 0 && has_value) every = atoi(argv[++at]);
        else argv[1 + names++] = argv[at];
    }
    if (names == 0) {
        static char *world[] = {"hello", "world", NULL};
        argv = world;
        names = 1;
    }
    FILE *saved = NULL;
    if (save != NULL && (saved = fopen(save, "w")) == NULL) fail("write", save);
    do {
        for (int at = 1; at <= names; at++) {
            printf("%s, %s!\n", greeting, argv[at]);
            if (saved != NULL) fprintf(saved, "%s, %s!\n", greeting, argv[at]);
        }
        fflush(stdout);
    } while (every > 0 && sleep((unsigned)every) == 0);
    if (saved != NULL && fclose(saved) != 0) fail("write", save);
    return 0;
}
