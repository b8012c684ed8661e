/* Which packages of a Debian machine are older than an advisory says they should be.
 *
 * Usage: fleet ADVISORIES STATUS
 *
 * ADVISORIES is lines of `package fixed-version`, STATUS is dpkg's own list (/var/lib/dpkg/status). Prints each package
 * that is installed in an older version, and ends with 1 where there is one, else with 0.
 */
#include "../parts.h"
#include <ctype.h>

enum { MOST_ADVISORIES = 10000, MAX_FIELD = 256 };

struct advisory {
    char package[MAX_FIELD], fixed[MAX_FIELD];
};

static struct advisory *advisories;
static size_t advisory_count;

/* Where a letter stands in Debian's order: `~` before the end of a text, letters before everything else. */
static int rank(int letter) {
    if (letter == '~') return -1;
    if (letter == '\0' || isdigit(letter)) return 0;
    return isalpha(letter) ? letter : letter + 256;
}

/* Compares versions, or parts of them, by turns: what is no number letter by letter, numbers as numbers. */
static int compare_parts(const char *left, const char *right) {
    while (*left || *right) {
        while ((*left && !isdigit((unsigned char)*left)) || (*right && !isdigit((unsigned char)*right))) {
            int a = rank((unsigned char)*left), b = rank((unsigned char)*right);
            if (a != b) return a < b ? -1 : 1;
            left += *left != 0, right += *right != 0;
        }
        while (*left == '0') left++;
        while (*right == '0') right++;
        size_t digits = strspn(left, "0123456789"), others = strspn(right, "0123456789");
        if (digits != others) return digits < others ? -1 : 1;
        int order = strncmp(left, right, digits);
        if (order) return order < 0 ? -1 : 1;
        left += digits, right += others;
    }
    return 0;
}

/* Compares `epoch:upstream-revision`; a missing epoch is 0, a missing revision the lowest there is. */
static int compare_versions(const char *left, const char *right) {
    char *rest[2], texts[2][MAX_FIELD];
    long epochs[2];
    snprintf(texts[0], MAX_FIELD, "%s", left), snprintf(texts[1], MAX_FIELD, "%s", right);
    for (int side = 0; side < 2; side++) {
        char *colon = strchr(texts[side], ':');
        epochs[side] = colon ? strtol(texts[side], NULL, 10) : 0;
        rest[side] = colon ? colon + 1 : texts[side];
    }
    if (epochs[0] != epochs[1]) return epochs[0] < epochs[1] ? -1 : 1;
    const char *revisions[2] = {"", ""};
    for (int side = 0; side < 2; side++) {
        char *dash = strrchr(rest[side], '-');
        if (dash) *dash = '\0', revisions[side] = dash + 1;
    }
    int order = compare_parts(rest[0], rest[1]);
    return order ? order : compare_parts(revisions[0], revisions[1]);
}

static void read_advisories(const char *path) {
    FILE *file = open_file(path, "rb");
    char line[2 * MAX_FIELD];
    advisories = allocate(MOST_ADVISORIES, sizeof *advisories);
    while (fgets(line, sizeof line, file) != NULL) {
        if (*line == '#' || *line == '\n') continue;
        struct advisory *advisory = &advisories[advisory_count];
        if (advisory_count == MOST_ADVISORIES || sscanf(line, "%255s %255s", advisory->package, advisory->fixed) != 2)
            fail("not `package version`, or too many of them:", line);
        advisory_count++;
    }
    close_file(file, path);
}

static int is_old(const char *package, const char *version) {
    int found = 0;
    for (size_t at = 0; at < advisory_count; at++)
        if (strcmp(advisories[at].package, package) == 0 && compare_versions(version, advisories[at].fixed) < 0)
            printf("%s %s is older than %s\n", package, version, advisories[at].fixed), found = 1;
    return found;
}

/* The value of a line `Name: value`, without its end; NULL where it is another one. */
static char *field(char *line, const char *name) {
    size_t length = strlen(name);
    if (strncmp(line, name, length) != 0) return NULL;
    line[strcspn(line, "\n")] = '\0';
    return line + length;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: fleet ADVISORIES STATUS\n");
        return 2;
    }
    read_advisories(argv[1]);
    FILE *file = open_file(argv[2], "rb");
    char line[4096], package[MAX_FIELD] = "", version[MAX_FIELD] = "", *value;
    int installed = 0, packages = 0, old = 0, more = 1;
    while (more) {
        more = fgets(line, sizeof line, file) != NULL;
        if (!more || *line == '\n') { /* the end of a package */
            if (installed) packages++, old += is_old(package, version);
            installed = 0, *package = *version = '\0';
        } else if ((value = field(line, "Package: "))) {
            snprintf(package, sizeof package, "%.*s", MAX_FIELD - 1, value);
        } else if ((value = field(line, "Version: "))) {
            snprintf(version, sizeof version, "%.*s", MAX_FIELD - 1, value);
        } else if ((value = field(line, "Status: "))) {
            installed = strcmp(value, "install ok installed") == 0;
        }
    }
    close_file(file, argv[2]);
    printf("%d of %d packages are to be updated\n", old, packages);
    return old > 0;
}
