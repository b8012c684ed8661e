/* Copies a file or folder, and leaves the SHA-256 of each file, as `sha256sum` writes them.
 *
 * Usage: copy SOURCE TARGET SUMS NAME [SHA256]
 *
 * What lies in the folder SOURCE goes to the same places in TARGET; where SOURCE is a file, it is called NAME there.
 * SUMS/SHA256SUMS has a line for each file. What is neither file nor folder is left out, and said on standard error.
 * Each copy is compared with its source once it is written, so that a file that changes meanwhile is no copy; with SHA256
 * (64 digits) there is to be one file, and that one has to have this digest.
 * This is the program of `skrei data copy`.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_PATH = 4096, MAX_DEPTH = 64, MAX_ENTRIES = 1000000, CHUNK = 256 * 1024, BLOCK = 64 };

struct sha256 {
    uint32_t state[8];
    uint64_t size;
    unsigned char block[BLOCK];
};

static FILE *sums;
static unsigned long files;
static unsigned long long bytes;
static char last_sum[65];

static _Noreturn void fail(const char *what, const char *path) {
    fprintf(stderr, "cannot %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

static const uint32_t rounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turn(uint32_t word, int by) {
    return word >> by | word << (32 - by);
}

static void take_block(struct sha256 *sha, const unsigned char *block) {
    uint32_t words[64], now[8];
    for (int at = 0; at < 16; at++)
        words[at] = (uint32_t)block[4 * at] << 24 | (uint32_t)block[4 * at + 1] << 16 | (uint32_t)block[4 * at + 2] << 8 | block[4 * at + 3];
    for (int at = 16; at < 64; at++) {
        uint32_t early = words[at - 15], late = words[at - 2];
        words[at] = words[at - 16] + words[at - 7] + (turn(early, 7) ^ turn(early, 18) ^ early >> 3) +
                    (turn(late, 17) ^ turn(late, 19) ^ late >> 10);
    }
    memcpy(now, sha->state, sizeof now);
    for (int at = 0; at < 64; at++) {
        uint32_t chosen = (now[4] & now[5]) ^ (~now[4] & now[6]), most = (now[0] & now[1]) ^ (now[0] & now[2]) ^ (now[1] & now[2]);
        uint32_t one = now[7] + (turn(now[4], 6) ^ turn(now[4], 11) ^ turn(now[4], 25)) + chosen + rounds[at] + words[at];
        uint32_t two = (turn(now[0], 2) ^ turn(now[0], 13) ^ turn(now[0], 22)) + most;
        memmove(now + 1, now, 7 * sizeof *now);
        now[4] += one, now[0] = one + two;
    }
    for (int at = 0; at < 8; at++) sha->state[at] += now[at];
}

static void take(struct sha256 *sha, const unsigned char *data, size_t size) {
    size_t held = sha->size % BLOCK;
    sha->size += size;
    if (held) {
        size_t more = size < BLOCK - held ? size : BLOCK - held;
        memcpy(sha->block + held, data, more);
        data += more, size -= more;
        if (held + more < BLOCK) return;
        take_block(sha, sha->block);
    }
    for (; size >= BLOCK; data += BLOCK, size -= BLOCK) take_block(sha, data);
    memcpy(sha->block, data, size);
}

static void finish(struct sha256 *sha, char text[65]) {
    unsigned char end[BLOCK + 8] = {0x80};
    uint64_t bits = sha->size * 8;
    size_t held = sha->size % BLOCK, padding = (held < 56 ? 56 : 120) - held;
    for (int at = 0; at < 8; at++) end[padding + (size_t)at] = (unsigned char)(bits >> (56 - 8 * at));
    take(sha, end, padding + 8);
    for (int at = 0; at < 8; at++) snprintf(text + 8 * at, 9, "%08x", sha->state[at]);
}

/* Writes a path as sha256sum does: one with a newline or a backslash is escaped, and its line begins with one. */
static void write_sum(const char *sum, const char *path) {
    int escaped = strpbrk(path, "\\\n") != NULL;
    fprintf(sums, "%s%s  ", escaped ? "\\" : "", sum);
    for (const char *at = path; *at; at++) {
        if (*at == '\n') fputs("\\n", sums);
        else if (*at == '\\') fputs("\\\\", sums);
        else fputc(*at, sums);
    }
    fputc('\n', sums);
}

/* Ends the program unless both files are the same, byte for byte. */
static void compare(const char *from, const char *to) {
    static unsigned char ours[CHUNK], theirs[CHUNK];
    FILE *source = fopen(from, "rb"), *target = fopen(to, "rb");
    size_t size;
    if (source == NULL) fail("read", from);
    if (target == NULL) fail("read", to);
    do {
        size = fread(ours, 1, sizeof ours, source);
        if (ferror(source)) fail("read all of", from);
        if (fread(theirs, 1, sizeof theirs, target) != size || memcmp(ours, theirs, size) != 0) {
            fprintf(stderr, "%s changed while it was copied; copy it again once nobody writes it\n", from);
            exit(1);
        }
    } while (size > 0);
    fclose(source), fclose(target);
}

static void copy_file(const char *from, const char *to, const char *name) {
    static unsigned char chunk[CHUNK];
    struct sha256 sha = {.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
    FILE *source = fopen(from, "rb"), *target;
    if (source == NULL) fail("read", from);
    if ((target = fopen(to, "wb")) == NULL) fail("write", to);
    for (size_t size; (size = fread(chunk, 1, sizeof chunk, source)) > 0;) {
        take(&sha, chunk, size);
        if (fwrite(chunk, 1, size, target) != size) fail("write all of", to);
    }
    if (ferror(source)) fail("read all of", from);
    fclose(source);
    if (fclose(target) != 0) fail("write all of", to);
    files++, bytes += sha.size;
    compare(from, to);
    finish(&sha, last_sum);
    write_sum(last_sum, name);
}

static int by_name(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* Joins a folder and a name; an empty folder is none. */
static void join(char path[MAX_PATH], const char *folder, const char *name) {
    int length = snprintf(path, MAX_PATH, "%s%s%s", folder, *folder ? "/" : "", name);
    if (length >= MAX_PATH) errno = ENAMETOOLONG, fail("name what lies in", folder);
}

static size_t names_in(const char *folder, char ***names) {
    size_t found = 0, room = 64;
    DIR *directory = opendir(folder);
    if (directory == NULL) fail("open", folder);
    if ((*names = malloc(room * sizeof **names)) == NULL) fail("hold the names in", folder);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (found == MAX_ENTRIES) errno = EOVERFLOW, fail("hold the names in", folder);
        if (found == room && (*names = realloc(*names, (room *= 2) * sizeof **names)) == NULL) fail("hold the names in", folder);
        if (((*names)[found++] = strdup(entry->d_name)) == NULL) fail("hold the names in", folder);
    }
    closedir(directory);
    qsort(*names, found, sizeof **names, by_name);
    return found;
}

/* Copies what lies at `path` of the source, the whole of it where that is empty. */
static void copy(const char *source, const char *target, const char *path, int depth) {
    char *from = malloc(3 * MAX_PATH), *to = from + MAX_PATH, *inside = to + MAX_PATH, **names;
    if (from == NULL) fail("hold", path);
    join(from, source, path), join(to, target, path);
    if (depth > MAX_DEPTH) errno = ELOOP, fail("copy", from);
    if (*path && mkdir(to, 0755) != 0 && errno != EEXIST) fail("make", to);
    size_t count = names_in(from, &names);
    for (size_t at = 0; at < count; free(names[at++])) {
        struct stat status;
        join(inside, path, names[at]);
        join(from, source, inside), join(to, target, inside);
        if (stat(from, &status) != 0 || !(S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)))
            fprintf(stderr, "left out, neither file nor folder: %s\n", inside);
        else if (S_ISDIR(status.st_mode)) copy(source, target, inside, depth + 1);
        else copy_file(from, to, inside);
    }
    free(names), free(from);
}

int main(int argc, char **argv) {
    struct stat status;
    char path[MAX_PATH];
    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: copy SOURCE TARGET SUMS NAME [SHA256]\n");
        return 2;
    }
    join(path, argv[3], "SHA256SUMS");
    if ((sums = fopen(path, "wb")) == NULL) fail("write", path);
    if (stat(argv[1], &status) != 0) fail("find", argv[1]);
    if (S_ISDIR(status.st_mode)) {
        copy(argv[1], argv[2], "", 0);
    } else {
        join(path, argv[2], argv[4]);
        copy_file(argv[1], path, argv[4]);
    }
    if (argc == 6 && files != 1) {
        fprintf(stderr, "a checksum was given, which is that of one file; here are %lu\n", files);
        return 1;
    }
    if (argc == 6 && strcmp(argv[5], last_sum) != 0) {
        fprintf(stderr, "what is copied has the digest sha256:%s, not sha256:%s\n", last_sum, argv[5]);
        return 1;
    }
    if (fclose(sums) != 0) fail("write", "SHA256SUMS");
    fprintf(stderr, "%lu file%s, %llu bytes\n", files, files == 1 ? "" : "s", bytes);
    return 0;
}
