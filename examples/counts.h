/* Names with counts, and files of them: what parts of a work leave, so that another program can add them up.
 *
 * A file has a line `count name` for each.
 */
#ifndef COUNTS_H
#define COUNTS_H

#include "parts.h"

enum { FIRST_SLOTS = 4096, MAX_LINE = 4096 };

struct count {
    char *name; /* NULL: a free slot */
    unsigned long count;
};

struct counts {
    struct count *slots;
    size_t slot_count, used;
};

static inline struct count *slot_of(const struct counts *counts, const char *name) {
    size_t hash = 5381;
    for (const char *at = name; *at; at++) hash = hash * 33 + (unsigned char)*at;
    size_t slot = hash & (counts->slot_count - 1);
    while (counts->slots[slot].name != NULL && strcmp(counts->slots[slot].name, name) != 0)
        slot = (slot + 1) & (counts->slot_count - 1);
    return &counts->slots[slot];
}

static inline void add_count(struct counts *counts, const char *name, unsigned long count) {
    if (counts->used * 2 >= counts->slot_count) {
        struct counts larger = {.slot_count = counts->slot_count ? counts->slot_count * 2 : FIRST_SLOTS};
        larger.slots = allocate(larger.slot_count, sizeof *larger.slots);
        larger.used = counts->used;
        for (size_t slot = 0; slot < counts->slot_count; slot++)
            if (counts->slots[slot].name != NULL) *slot_of(&larger, counts->slots[slot].name) = counts->slots[slot];
        free(counts->slots);
        *counts = larger;
    }
    struct count *slot = slot_of(counts, name);
    if (slot->name == NULL) {
        if ((slot->name = strdup(name)) == NULL) fail("no memory for", name);
        counts->used++;
    }
    slot->count += count;
}

static inline int by_count(const void *left, const void *right) {
    const struct count *a = left, *b = right;
    if (a->count != b->count) return a->count < b->count ? 1 : -1;
    return strcmp(a->name, b->name);
}

/* Returns all of them, the largest first, equal ones by name. */
static inline struct count *sorted_counts(const struct counts *counts) {
    struct count *sorted = allocate(counts->used, sizeof *sorted);
    size_t found = 0;
    for (size_t slot = 0; slot < counts->slot_count; slot++)
        if (counts->slots[slot].name != NULL) sorted[found++] = counts->slots[slot];
    qsort(sorted, found, sizeof *sorted, by_count);
    return sorted;
}

/* Adds what a file of such lines says. */
static inline void read_counts(struct counts *counts, const char *path) {
    FILE *file = open_file(path, "rb");
    char line[MAX_LINE];
    while (fgets(line, sizeof line, file) != NULL) {
        char *name, *end;
        unsigned long count = strtoul(line, &name, 10);
        if (name == line || *name++ != ' ' || (end = strchr(name, '\n')) == NULL || end == name) {
            fprintf(stderr, "%s has a line that is not `count name`: %s\n", path, line);
            exit(1);
        }
        *end = '\0';
        add_count(counts, name, count);
    }
    close_file(file, path);
}

static inline void write_counts(const struct counts *counts, const char *folder, const char *name) {
    FILE *file = open_in(folder, name, "wb");
    struct count *sorted = sorted_counts(counts);
    for (size_t at = 0; at < counts->used; at++) fprintf(file, "%lu %s\n", sorted[at].count, sorted[at].name);
    free(sorted);
    close_file(file, name);
}

#endif
