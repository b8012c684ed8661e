/* What the C programs of the examples share: to end with a reason, to find the files that are theirs, random numbers.
 *
 * Nothing in here is Skrei's: two environment variables tell a program which part of the work it is.
 */
#ifndef PARTS_H
#define PARTS_H

#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_PATH = 1024, MAX_FILES = 100000 };

/* Says what cannot be done, why if the system knows, and ends the program. */
static inline _Noreturn void fail(const char *what, const char *which) {
    fprintf(stderr, "%s %s%s%s\n", what, which, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static inline void *allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (memory == NULL) fail("no memory for", "what is to be worked on");
    return memory;
}

static inline FILE *open_file(const char *path, const char *how) {
    FILE *file = fopen(path, how);
    if (file == NULL) fail(*how == 'r' ? "cannot read" : "cannot write", path);
    return file;
}

/* Opens FOLDER/NAME. */
static inline FILE *open_in(const char *folder, const char *name, const char *how) {
    char path[MAX_PATH];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) fail("too long a path:", folder);
    return open_file(path, how);
}

/* Ends the use of a file; only now it is known whether all of it was read, or written. */
static inline void close_file(FILE *file, const char *path) {
    int broken = ferror(file);
    if (fclose(file) != 0 || broken) fail("cannot read or write all of", path);
}

static inline size_t number_of(const char *variable, size_t otherwise) {
    const char *text = getenv(variable);
    return text != NULL && *text ? strtoul(text, NULL, 10) : otherwise;
}

/* Which part of the work this program is: 0 … parts() - 1. */
static inline size_t part(void) {
    return number_of("BACALHAU_PARTITION_INDEX", 0);
}

/* How many parts there are: 0 where nodes say it, as in an `ops` job; that counts as one. */
static inline size_t parts(void) {
    size_t count = number_of("BACALHAU_PARTITION_COUNT", 1);
    return count ? count : 1;
}

static inline int by_name(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* Lists the regular files of a folder, sorted; with "/NAME" for `inside` those of that name one folder below. */
static inline size_t list_files(const char *folder, const char *inside, char ***paths) {
    errno = 0;
    DIR *directory = opendir(folder);
    if (directory == NULL) fail("cannot open", folder);
    size_t found = 0, room = 64;
    *paths = allocate(room, sizeof **paths);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[MAX_PATH];
        struct stat status;
        if (entry->d_name[0] == '.') continue;
        int length = snprintf(path, sizeof path, "%s/%s%s", folder, entry->d_name, inside);
        if (length >= (int)sizeof path || stat(path, &status) != 0 || !S_ISREG(status.st_mode)) continue;
        if (found == MAX_FILES) fail("too many files in", folder);
        if (found == room && (*paths = realloc(*paths, (room *= 2) * sizeof **paths)) == NULL)
            fail("no memory for the files of", folder);
        if (((*paths)[found++] = strdup(path)) == NULL) fail("no memory for", path);
    }
    closedir(directory);
    qsort(*paths, found, sizeof **paths, by_name);
    errno = 0;
    return found;
}

static inline const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Random numbers that are the same on every machine (SplitMix64): one stream for each seed and part. */
struct chance {
    uint64_t state;
    double spare;
    int has_spare;
};

static inline uint64_t next_bits(struct chance *chance) {
    uint64_t bits = chance->state += 0x9e3779b97f4a7c15u;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
    return bits ^ (bits >> 31);
}

static inline struct chance chance_of(uint64_t seed, uint64_t stream) {
    struct chance mixed = {.state = seed}, chance = {.state = next_bits(&mixed) ^ (stream * 0xd1342543de82ef95u)};
    next_bits(&chance);
    return chance;
}

/* 0 ≤ … < 1 */
static inline double uniform(struct chance *chance) {
    return (double)(next_bits(chance) >> 11) * 0x1p-53;
}

/* Of a normal distribution with mean 0 and deviation 1 (Marsaglia's polar method). */
static inline double normal(struct chance *chance) {
    if (chance->has_spare) return chance->has_spare = 0, chance->spare;
    double x, y, square;
    do {
        x = 2 * uniform(chance) - 1, y = 2 * uniform(chance) - 1;
        square = x * x + y * y;
    } while (square >= 1 || square == 0);
    double scale = sqrt(-2 * log(square) / square);
    chance->spare = y * scale, chance->has_spare = 1;
    return x * scale;
}

#endif
