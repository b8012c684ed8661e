/* Counts the words of the texts in a directory, or adds up what others counted.
 *
 * Usage: wordcount TEXTS OUTPUT           its share: the texts are the same wherever it runs
 *        wordcount --all TEXTS OUTPUT     all of them: these texts are here alone
 *        wordcount --merge PARTS OUTPUT   adds up the words.txt of each directory in PARTS
 *
 * The regular files of TEXTS are sorted by name; file i belongs to partition i mod BACALHAU_PARTITION_COUNT, and the
 * share of this program are those of BACALHAU_PARTITION_INDEX. Every count goes to OUTPUT/words.txt, the most frequent
 * words to standard output, both as `count word`, most frequent first, equal counts by word. A word is a run of ASCII
 * letters, bytes of other alphabets (UTF-8) and apostrophes inside; ASCII letters count as lower case.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_FILES = 10000, MAX_WORD = 64, MAX_PATH = 1024, TOP = 10, FIRST_SLOTS = 4096 };

struct word {
    char *text; /* NULL: a free slot */
    unsigned long count;
};

static struct word *slots;
static size_t slot_count, word_count;

static void fail(const char *what, const char *which) {
    fprintf(stderr, "wordcount: %s %s: %s\n", what, which, strerror(errno));
    exit(1);
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory == NULL) fail("no memory for", "the words");
    return memory;
}

static size_t place(const struct word *table, size_t size, const char *text) {
    size_t hash = 5381;
    for (const char *at = text; *at; at++) hash = hash * 33 + (unsigned char)*at;
    size_t slot = hash & (size - 1);
    while (table[slot].text != NULL && strcmp(table[slot].text, text) != 0) slot = (slot + 1) & (size - 1);
    return slot;
}

static void grow(void) {
    size_t size = slot_count ? slot_count * 2 : FIRST_SLOTS;
    struct word *table = allocate(size, sizeof *table);
    for (size_t slot = 0; slot < slot_count; slot++)
        if (slots[slot].text != NULL) table[place(table, size, slots[slot].text)] = slots[slot];
    free(slots);
    slots = table;
    slot_count = size;
}

static void add_counted(const char *text, unsigned long count) {
    if (word_count * 2 >= slot_count) grow();
    struct word *word = &slots[place(slots, slot_count, text)];
    if (word->text == NULL) {
        word->text = strdup(text);
        if (word->text == NULL) fail("no memory for", text);
        word_count++;
    }
    word->count += count;
}

static void add(char *text, size_t length) {
    while (length > 0 && text[length - 1] == '\'') length--;
    if (length == 0) return;
    text[length] = '\0';
    add_counted(text, 1);
}

static int letter(int byte) {
    return (byte >= 'a' && byte <= 'z') || byte >= 0x80;
}

static void count_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail("cannot read", path);
    char text[MAX_WORD + 1];
    size_t length = 0;
    for (int byte; (byte = getc(file)) != EOF;) {
        if (byte >= 'A' && byte <= 'Z') byte += 'a' - 'A';
        if (letter(byte) || (byte == '\'' && length > 0)) {
            if (length < MAX_WORD) text[length++] = (char)byte; /* the rest of an endless word is dropped */
        } else {
            add(text, length);
            length = 0;
        }
    }
    add(text, length);
    if (ferror(file)) fail("cannot read", path);
    fclose(file);
}

static int by_name(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static int by_count(const void *left, const void *right) {
    const struct word *a = left, *b = right;
    if (a->count != b->count) return a->count < b->count ? 1 : -1;
    return strcmp(a->text, b->text);
}

static void merge_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail("cannot read", path);
    char line[MAX_WORD + 32];
    while (fgets(line, sizeof line, file) != NULL) {
        char *word, *end;
        unsigned long count = strtoul(line, &word, 10);
        if (word == line || *word++ != ' ' || (end = strchr(word, '\n')) == NULL || end == word) {
            fprintf(stderr, "wordcount: %s has a line that is not `count word`: %s\n", path, line);
            exit(1);
        }
        *end = '\0';
        add_counted(word, count);
    }
    if (ferror(file)) fail("cannot read", path);
    fclose(file);
}

/* Lists the regular files of a directory, or with "/NAME" for `inside` those of that name one directory below. */
static size_t list_files(const char *folder, const char *inside, char **paths) {
    DIR *directory = opendir(folder);
    if (directory == NULL) fail("cannot open", folder);
    size_t found = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[MAX_PATH];
        struct stat status;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        int length = snprintf(path, sizeof path, "%s/%s%s", folder, entry->d_name, inside);
        if (length >= (int)sizeof path || stat(path, &status) != 0 || !S_ISREG(status.st_mode)) continue;
        if (found == MAX_FILES) {
            fprintf(stderr, "wordcount: %s has more than %d files\n", folder, MAX_FILES);
            exit(1);
        }
        if ((paths[found++] = strdup(path)) == NULL) fail("no memory for", path);
    }
    closedir(directory);
    qsort(paths, found, sizeof *paths, by_name);
    return found;
}

static size_t number(const char *name, size_t otherwise) {
    const char *text = getenv(name);
    return text != NULL && *text ? strtoul(text, NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
    int merges = argc == 4 && strcmp(argv[1], "--merge") == 0, all = argc == 4 && strcmp(argv[1], "--all") == 0;
    if (argc != 3 && !merges && !all) {
        fprintf(stderr, "usage: wordcount [--all|--merge] TEXTS OUTPUT\n");
        return 2;
    }
    const char *texts = argv[argc - 2], *out = argv[argc - 1];
    size_t partition = number("BACALHAU_PARTITION_INDEX", 0), partitions = number("BACALHAU_PARTITION_COUNT", 1);
    if (partitions == 0) partitions = 1;

    char **paths = allocate(MAX_FILES, sizeof *paths);
    size_t files = list_files(texts, merges ? "/words.txt" : "", paths), mine = 0;
    size_t first = merges || all ? 0 : partition, step = merges || all ? 1 : partitions;
    for (size_t file = first; file < files; file += step, mine++) {
        printf("%s %s\n", merges ? "adding" : "counting", paths[file]);
        fflush(stdout);
        (merges ? merge_file : count_file)(paths[file]);
    }

    struct word *words = allocate(word_count + 1, sizeof *words);
    size_t count = 0;
    for (size_t slot = 0; slot < slot_count; slot++)
        if (slots[slot].text != NULL) words[count++] = slots[slot];
    qsort(words, count, sizeof *words, by_count);

    char path[MAX_PATH];
    snprintf(path, sizeof path, "%s/words.txt", out);
    FILE *output = fopen(path, "wb");
    if (output == NULL) fail("cannot write", path);
    for (size_t at = 0; at < count; at++) fprintf(output, "%lu %s\n", words[at].count, words[at].text);
    if (fclose(output) != 0) fail("cannot write", path);

    printf("partition %zu of %zu: %zu of %zu files, %zu different words\n", partition, partitions, mine, files, count);
    for (size_t at = 0; at < count && at < TOP; at++) printf("%lu %s\n", words[at].count, words[at].text);
    return 0;
}
