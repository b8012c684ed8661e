/* The one program of ours inside a run's pod: a small init for the user's program, and the reader of what it says.
 *
 *   exec open|closed BYTES PROGRAM ...   run it: of each stream so many bytes go into a file beside this program, the
 *                                        rest is dropped, and its exit code is written there; closed: no network, also
 *                                        for what is run `within` the container
 *   follow OUT ERR [once]                write both files from these offsets to stdout and stderr, until it has ended
 *   signal N                             to the program; 9: to everything in this container
 *   within MILLISECONDS PROGRAM ...      run a command beside it, and end it with all its children when time is over,
 *                                        or when whoever asked has gone (stdin ends)
 *   whole                                pass on what comes in pieces (4 bytes of length, data), 1 when it breaks off
 *
 * Static, of one file, without any library but C's: images may hold nothing at all. Files lie in the folder FOLDER.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FOLDER "/.skrei"
#define OUT FOLDER "/stdout"
#define ERR FOLDER "/stderr"
#define ENDED FOLDER "/exit"
#define PIECE (64 * 1024)

static char piece[PIECE];

static int fail(const char *what) {
    dprintf(2, "skrei: %s: %s\n", what, strerror(errno));
    return 125;
}

static void rest(long milliseconds) {
    struct timespec t = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

static long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000L + t.tv_nsec / 1000000L;
}

/* Write everything; what cannot be written is an error. */
static int put(int to, const char *data, size_t size) {
    while (size) {
        ssize_t n = write(to, data, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        data += n, size -= n;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------ exec */

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#endif

/* No sockets but those between processes of this container: for programs that are to have no network, whatever the
 * cluster's network does about its policies. Inherited by all that it starts; cannot be taken back. */
static int close_network(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS), /* other calling conventions have other numbers */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#if defined(__x86_64__)
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), /* x32 */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
#endif
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1), /* it opens sockets, too */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENETUNREACH),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Whether the container's first process is a runner that was told `closed`: it let nobody change what it was told. */
static int is_closed(void) {
    static const char told[] = "exec\0closed";
    int fd = open("/proc/1/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, piece, PIECE);
    if (fd >= 0) close(fd);
    char *program_ends = size > 0 ? memchr(piece, 0, size) : NULL;
    if (!program_ends || piece + size - program_ends - 1 < (ssize_t)sizeof told) return 0;
    return !memcmp(program_ends + 1, told, sizeof told);
}

static volatile pid_t child;

static void pass_on(int number) {
    if (child > 0) kill(child, number);
}

static int ended(int status) {
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* What a shell says of a program that cannot be executed: it goes where the program's own errors go. */
static void never(const char *program) {
    int code = errno == ENOENT ? 127 : 126;
    dprintf(2, "exec %s: %s\n", program, strerror(errno));
    _exit(code);
}

static int note_end(int code) {
    int fd = open(ENDED ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
    if (fd < 0 || dprintf(fd, "%d\n", code) < 0 || close(fd)) return -1;
    return rename(ENDED ".new", ENDED);
}

static void wake(int number) { (void)number; }

/* One stream of the program: what comes through `from` goes to `to` while there is room for it. */
struct stream {
    int from, to;
    long long room;
};

/* Take what is there; 0 once nothing will come any more. */
static int keep(struct stream *one) {
    ssize_t n = read(one->from, piece, PIECE);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return 0;
    long long kept = n < one->room ? n : one->room;
    if (kept && put(one->to, piece, kept)) one->room = kept; /* a full disk does not hold the program up */
    one->room -= kept;
    return 1;
}

static int run(long long limit, char **words, int closed) {
    static const int passed[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2};
    static const char *const files[2] = {OUT, ERR};
    struct stream streams[2];
    int said[2][2];
    for (int i = 0; i < 2; i++) {
        int to = open(files[i], O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
        if (to < 0 || pipe2(said[i], O_CLOEXEC)) return fail("its output cannot be kept");
        streams[i] = (struct stream){said[i][0], to, limit};
    }
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before); /* they are heard while we wait, and then alone */
    struct sigaction act = {.sa_handler = pass_on};
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++) sigaction(passed[i], &act, NULL);
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = wake}, NULL);
    /* Closed, this process is too, and lets none of its user look into it: through another's memory there is a way out. */
    if (closed && (prctl(PR_SET_DUMPABLE, 0) || close_network())) return fail("its network cannot be closed");
    child = fork();
    if (child < 0) return fail("it cannot be started");
    if (child == 0) {
        for (size_t i = 0; i < sizeof passed / sizeof *passed; i++) signal(passed[i], SIG_DFL);
        signal(SIGCHLD, SIG_DFL);
        sigprocmask(SIG_SETMASK, &before, NULL);
        setsid();
        if (dup2(said[0][1], 1) < 0 || dup2(said[1][1], 2) < 0) _exit(125);
        execvp(words[0], words);
        never(words[0]);
    }
    int status = 0, done = 0;
    for (int i = 0; i < 2; i++) {
        close(said[i][1]);
        fcntl(streams[i].from, F_SETFL, O_NONBLOCK);
    }
    int open_streams = 2;
    while (!done || open_streams) {
        struct pollfd ready[2];
        for (int i = 0; i < 2; i++) ready[i] = (struct pollfd){streams[i].from, POLLIN, 0};
        ppoll(ready, 2, NULL, &before);
        for (int i = 0; i < 2; i++)
            if (streams[i].from >= 0 && ready[i].revents && !keep(&streams[i])) {
                close(streams[i].from);
                streams[i].from = -1; /* poll passes it over */
                open_streams--;
            }
        int one_status;
        for (pid_t one; (one = waitpid(-1, &one_status, WNOHANG)) > 0;) /* an init buries what others leave behind */
            if (one == child) {
                done = 1, status = one_status;
                kill(-1, SIGKILL); /* as the end of a container's first process ends all others */
            }
    }
    if (note_end(ended(status))) return fail("its end cannot be noted");
    return ended(status);
}

/* ---------------------------------------------------------------------------------------------- follow */

/* Write what is new of a file; how much that was. */
static long pour(int from, int to) {
    long sum = 0;
    ssize_t n;
    while ((n = read(from, piece, PIECE)) > 0) {
        if (put(to, piece, n)) exit(1);
        sum += n;
    }
    return sum;
}

static int follow(char **offsets, int once) {
    int from[2] = {open(OUT, O_RDONLY | O_NOFOLLOW), open(ERR, O_RDONLY | O_NOFOLLOW)};
    for (int i = 0; i < 2; i++)
        if (from[i] < 0 || lseek(from[i], atoll(offsets[i]), SEEK_SET) < 0) return fail("what it said cannot be read");
    long pause = 5;
    for (;;) {
        int over = once || access(ENDED, F_OK) == 0; /* looked at before the last bytes are read */
        long new = pour(from[0], 1) + pour(from[1], 2);
        if (over && !new) return 0;
        struct pollfd asker = {0, 0, 0};
        if (!new && poll(&asker, 1, 0) > 0 && asker.revents & (POLLERR | POLLNVAL)) return 1;
        pause = new ? 5 : pause < 100 ? pause * 2 : 100; /* who says nothing is asked ten times a second */
        if (!over) rest(pause);
    }
}

/* ---------------------------------------------------------------------------------------------- within */

static int within(long milliseconds, char **words) {
    long until = now_ms() + milliseconds;
    if (is_closed() && close_network()) return fail("its network cannot be closed");
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* what it starts and leaves becomes ours */
    pid_t command = fork();
    if (command < 0) return fail("it cannot be started");
    if (command == 0) {
        setsid();
        int none = open("/dev/null", O_RDONLY);
        if (none >= 0) dup2(none, 0);
        execvp(words[0], words);
        never(words[0]);
    }
    int status = 0, done = 0, out_of_time = 0;
    while (!done && !out_of_time) {
        struct pollfd asker = {0, POLLIN, 0};
        char byte;
        if (poll(&asker, 1, 10) > 0 && read(0, &byte, 1) <= 0) out_of_time = 1;
        done = waitpid(command, &status, WNOHANG) == command;
        out_of_time |= now_ms() >= until;
    }
    int code = done ? ended(status) : 137;
    kill(-command, SIGKILL);
    for (long left = now_ms() + 2000; now_ms() < left;) { /* what has left its group has become our child */
        char path[64];
        snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
        FILE *children = fopen(path, "r");
        int one;
        while (children && fscanf(children, "%d", &one) == 1) kill(one, SIGKILL);
        if (children) fclose(children);
        if (waitpid(-1, NULL, WNOHANG) < 0) break;
        rest(5);
    }
    return code;
}

/* ----------------------------------------------------------------------------------------------- whole */

static int take(char *data, size_t size) {
    while (size) {
        ssize_t n = read(0, data, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        data += n, size -= n;
    }
    return 0;
}

static int whole(void) {
    for (;;) {
        unsigned char head[4];
        if (take((char *)head, 4)) return 1;
        size_t left = (size_t)head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3];
        if (!left) return 0;
        while (left) {
            size_t n = left < PIECE ? left : PIECE;
            if (take(piece, n) || put(1, piece, n)) return 1;
            left -= n;
        }
    }
}

int main(int count, char **words) {
    const char *verb = count > 1 ? words[1] : "";
    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(verb, "exec") && count > 4) {
        signal(SIGPIPE, SIG_DFL);
        return run(atoll(words[3]), words + 4, !strcmp(words[2], "closed"));
    }
    if (!strcmp(verb, "follow") && count > 3) return follow(words + 2, count > 4);
    if (!strcmp(verb, "signal") && count > 2) {
        int number = atoi(words[2]);
        return kill(number == SIGKILL ? -1 : 1, number) && errno != ESRCH ? fail("signal") : 0;
    }
    if (!strcmp(verb, "within") && count > 3) {
        signal(SIGPIPE, SIG_DFL);
        return within(atol(words[2]), words + 3);
    }
    if (!strcmp(verb, "whole")) return whole();
    dprintf(2, "skrei: exec | follow | signal | within | whole\n");
    return 125;
}
