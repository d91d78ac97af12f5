/* SPDX-License-Identifier: Apache-2.0
 *
 * A disk that fails when told to, and that writes down what was done to it.
 *
 * Loaded with LD_PRELOAD. It minds the files below the directory DISK_ROOT. What fails is said in
 * the first struct of the file DISK_PLAN, which is mapped and may be changed at any moment. What
 * was done goes to the file DISK_LOG, if that is set, one record after the other: a struct record
 * and the bytes. See tests/faults/disk.py, which writes the one and reads the other.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum operation { OPEN = 1, WRITE = 2, SYNC = 3, TRUNCATE = 4 };
enum file { ANY = 0, DATABASE = 1, WAL = 2, DIRECTORY = 3 };

struct plan {
    volatile int32_t operation; /* the one that fails, 0 for none */
    volatile int32_t file;      /* on which file */
    volatile int32_t error;     /* with which errno */
    volatile int32_t skip;      /* how often it succeeds before */
    volatile int32_t count;     /* how often it fails, -1 for always */
    volatile int32_t forget;    /* after a failed sync, unsynced bytes are as they were before */
    volatile int32_t failed;    /* how often it has failed */
};

struct record {
    int32_t what; /* 'O'pened, 'W'ritten, 'S'ynced, 'F'ailed to sync, 'T'runcated, 'U'nlinked,
                     'D'irectory synced, 'R'everted */
    int32_t result;
    uint64_t inode;
    int64_t offset;
    int64_t length;
};

struct undo { /* bytes as they were before an unsynced write */
    struct undo *before;
    int fd;
    int64_t offset, length, size;
    char bytes[];
};

#define FDS 4096
static char kinds[FDS]; /* 1 + enum file of the open files that are minded */
static struct undo *unsynced;
static struct plan *plan;
static const char *root;
static int record_fd = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int (*real_open)(const char *, int, ...);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off64_t);
static int (*real_unlink)(const char *);

__attribute__((constructor)) static void begin(void) {
    real_open = dlsym(RTLD_NEXT, "open64");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    root = getenv("DISK_ROOT");
    const char *path = getenv("DISK_PLAN");
    int fd = path ? real_open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) {
        plan = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (plan == MAP_FAILED)
            abort();
    }
    path = getenv("DISK_LOG");
    if (path)
        record_fd = real_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int ends_with(const char *path, const char *end) {
    size_t length = strlen(path), most = strlen(end);
    return length >= most && strcmp(path + length - most, end) == 0;
}

static int kind_of(const char *path) {
    if (!root || strncmp(path, root, strlen(root)) != 0)
        return -1;
    if (strcmp(path, root) == 0)
        return DIRECTORY;
    return ends_with(path, "-wal") ? WAL : ends_with(path, ".db") ? DATABASE : ANY;
}

static int fails(enum operation operation, int kind) {
    if (!plan || plan->operation != operation || (plan->file && plan->file != kind))
        return 0;
    if (plan->skip > 0) {
        plan->skip--;
        return 0;
    }
    if (plan->count == 0)
        return 0;
    if (plan->count > 0)
        plan->count--;
    plan->failed++;
    errno = plan->error;
    return 1;
}

static void note(int what, uint64_t inode, int64_t offset, const void *bytes, int64_t length) {
    if (record_fd < 0)
        return;
    struct record head = {what, 0, inode, offset, length};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)bytes, bytes ? length : 0}};
    if (writev(record_fd, parts, 2) < (ssize_t)sizeof head)
        abort();
}

static uint64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

static int minded(int fd) { return fd >= 0 && fd < FDS && kinds[fd]; }

static void remember(int fd, int64_t offset, int64_t length) {
    struct stat found;
    struct undo *step = malloc(sizeof *step + length);
    fstat(fd, &found);
    memset(step->bytes, 0, length);
    if (pread64(fd, step->bytes, length, offset) < 0)
        abort();
    *step = (struct undo){unsynced, fd, offset, length, found.st_size};
    unsynced = step;
}

/* Drop what is remembered of a file; with *revert*, put it back first. */
static void forget(int fd, int revert) {
    for (struct undo **at = &unsynced; *at;) {
        struct undo *step = *at;
        if (step->fd != fd) {
            at = &step->before;
            continue;
        }
        if (revert) {
            real_pwrite(fd, step->bytes, step->length, step->offset);
            real_ftruncate(fd, step->size);
            note('R', inode_of(fd), step->offset, step->bytes, step->length);
        }
        *at = step->before;
        free(step);
    }
}

static int opened(const char *path, int flags, mode_t mode) {
    int kind = kind_of(path);
    if (kind >= 0 && fails(OPEN, kind))
        return -1;
    int fd = real_open(path, flags, mode);
    if (fd >= 0 && fd < FDS) {
        kinds[fd] = kind + 1;
        if (kind >= 0 && kind != DIRECTORY)
            note('O', inode_of(fd), 0, path, strlen(path));
    }
    return fd;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, int) : 0;
    va_end(rest);
    return opened(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, int) : 0;
    va_end(rest);
    return opened(path, flags, mode);
}

int close(int fd) {
    static int (*real_close)(int);
    if (!real_close)
        real_close = dlsym(RTLD_NEXT, "close");
    if (minded(fd)) {
        pthread_mutex_lock(&lock);
        forget(fd, 0);
        kinds[fd] = 0;
        pthread_mutex_unlock(&lock);
    }
    return real_close(fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    if (!minded(fd))
        return real_pwrite(fd, bytes, length, offset);
    pthread_mutex_lock(&lock);
    ssize_t written = -1;
    if (!fails(WRITE, kinds[fd] - 1)) {
        if (plan && plan->forget)
            remember(fd, offset, length);
        written = real_pwrite(fd, bytes, length, offset);
        if (written > 0)
            note('W', inode_of(fd), offset, bytes, written);
    }
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    if (!minded(fd))
        return real_write(fd, bytes, length);
    pthread_mutex_lock(&lock);
    ssize_t written = real_write(fd, bytes, length);
    if (written > 0)
        note('W', inode_of(fd), lseek(fd, 0, SEEK_CUR) - written, bytes, written);
    pthread_mutex_unlock(&lock);
    return written;
}

static int synced(int fd, int (*real)(int)) {
    if (!minded(fd))
        return real(fd);
    pthread_mutex_lock(&lock);
    int kind = kinds[fd] - 1, result = 0;
    if (fails(SYNC, kind)) {
        int error = errno;
        note('F', inode_of(fd), 0, NULL, 0);
        forget(fd, plan->forget);
        errno = error;
        result = -1;
    } else if (record_fd >= 0) {
        /* What reaches the disk is for the record to say; nothing has to be waited for. */
        note(kind == DIRECTORY ? 'D' : 'S', inode_of(fd), 0, NULL, 0);
        forget(fd, 0);
    } else {
        result = real(fd);
        forget(fd, 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) { return synced(fd, real_fsync); }

int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int ftruncate64(int fd, off64_t size) {
    if (!minded(fd))
        return real_ftruncate(fd, size);
    pthread_mutex_lock(&lock);
    int result = fails(TRUNCATE, kinds[fd] - 1) ? -1 : real_ftruncate(fd, size);
    if (result == 0)
        note('T', inode_of(fd), size, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) {
    int result = real_unlink(path);
    if (result == 0 && kind_of(path) >= 0)
        note('U', 0, 0, path, strlen(path));
    return result;
}
