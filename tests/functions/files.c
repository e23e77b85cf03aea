/*
 * files: does what the last part of the path says to the path in the query, and says what came of it. Two paths
 * are divided by a colon.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <hairtrigger.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int compare(const void *one, const void *other) { return strcmp(*(char *const *)one, *(char *const *)other); }

/* The names in a directory, in order. */
static int list(const char *path, char *text, size_t room) {
    char *names[64];
    size_t count = 0, i;
    struct dirent *entry;
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return -1;
    }
    while ((entry = readdir(directory)) != NULL && count < 64) {
        if (entry->d_name[0] != '.') {
            names[count++] = strdup(entry->d_name);
        }
    }
    closedir(directory);
    qsort(names, count, sizeof(names[0]), compare);
    for (i = 0; i < count; i++) {
        strncat(text, i == 0 ? "" : " ", room - strlen(text) - 1);
        strncat(text, names[i], room - strlen(text) - 1);
        free(names[i]);
    }
    return 0;
}

static int open_and(const char *path, int flags, int (*then)(int, char *), char *text) {
    int result, reason, file = open(path, flags, 0644);
    if (file < 0) {
        return -1;
    }
    result = then == NULL ? 0 : then(file, text);
    reason = errno;
    close(file);
    errno = reason;
    return result;
}

static int take(int file, char *text) { return read(file, text, 200) < 0 ? -1 : 0; }
static int put(int file, char *text) { (void)text; return write(file, "written", 7) == 7 ? 0 : -1; }
static int cut(int file, char *text) { (void)text; return ftruncate(file, 2); }
static int grow(int file, char *text) { (void)text; return ftruncate(file, (off_t)1 << 30); }
static int overgrow(int file, char *text) { (void)text; return ftruncate(file, ((off_t)1 << 30) + 1); }
static int sync_it(int file, char *text) { (void)text; return fsync(file) | fdatasync(file); }

static int size_of_it(int file, char *text) {
    struct stat facts;
    if (fstat(file, &facts) != 0) {
        return -1;
    }
    sprintf(text, "%lld", (long long)facts.st_size);
    return 0;
}

static int map_executable(int file, char *text) {
    (void)text;
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0) == MAP_FAILED ? -1 : 0;
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    const char *whole = (const char *)request->path.data;
    const uint8_t *slash = memrchr(whole, '/', request->path.len);
    char path[2048] = {0}, text[1024] = {0};
    char *second;
    struct stat facts;
    ht_bytes command;
    int result = -1;
    (void)state;
    command.data = slash + 1;
    command.len = request->path.len - (size_t)(command.data - request->path.data);
    if (request->query.len >= sizeof(path)) {
        return 1;
    }
    memcpy(path, request->query.data, request->query.len);
    second = strchr(path, ':');
    if (second != NULL) {
        *second++ = 0;
    }

    errno = 0;
    if (ht_equal(command, "read")) {
        result = open_and(path, O_RDONLY, take, text);
    } else if (ht_equal(command, "size")) {
        result = open_and(path, O_RDONLY, size_of_it, text);
    } else if (ht_equal(command, "list")) {
        result = list(path, text, sizeof(text));
    } else if (ht_equal(command, "stat")) {
        result = stat(path, &facts);
    } else if (ht_equal(command, "access")) {
        result = access(path, R_OK);
    } else if (ht_equal(command, "readlink")) {
        result = readlink(path, text, sizeof(text) - 1) < 0 ? -1 : 0;
    } else if (ht_equal(command, "cwd")) {
        result = getcwd(text, sizeof(text)) == NULL ? -1 : 0;
    } else if (ht_equal(command, "handle")) {
        result = open_and(path, O_PATH, NULL, text);
    } else if (ht_equal(command, "execute")) {
        result = open_and(path, O_RDONLY, map_executable, text);
    } else if (ht_equal(command, "write")) {
        result = open_and(path, O_WRONLY, put, text);
    } else if (ht_equal(command, "create")) {
        result = open_and(path, O_WRONLY | O_CREAT | O_EXCL, put, text);
    } else if (ht_equal(command, "append")) {
        result = open_and(path, O_WRONLY | O_APPEND, put, text);
    } else if (ht_equal(command, "empty")) {
        result = open_and(path, O_WRONLY | O_TRUNC, NULL, text);
    } else if (ht_equal(command, "cut")) {
        result = open_and(path, O_WRONLY, cut, text);
    } else if (ht_equal(command, "grow")) {
        result = open_and(path, O_WRONLY, grow, text);
    } else if (ht_equal(command, "overgrow")) {
        result = open_and(path, O_WRONLY, overgrow, text);
    } else if (ht_equal(command, "sync")) {
        result = open_and(path, O_WRONLY, sync_it, text);
    } else if (ht_equal(command, "mkdir")) {
        result = mkdir(path, 0755);
    } else if (ht_equal(command, "rmdir")) {
        result = rmdir(path);
    } else if (ht_equal(command, "unlink")) {
        result = unlink(path);
    } else if (ht_equal(command, "rename")) {
        result = rename(path, second);
    } else if (ht_equal(command, "exchange")) {
        result = renameat2(AT_FDCWD, path, AT_FDCWD, second, RENAME_EXCHANGE);
    } else if (ht_equal(command, "symlink")) {
        result = symlink(path, second);
    } else if (ht_equal(command, "link")) {
        result = link(path, second);
    } else if (ht_equal(command, "fifo")) {
        result = mkfifo(path, 0644);
    } else if (ht_equal(command, "chmod")) {
        result = chmod(path, 0777);
    }
    if (result != 0) {
        return ht_write_text(host, invocation, strerror(errno));
    }
    return ht_write_text(host, invocation, text[0] != 0 ? text : "done");
}

HT_FUNCTION(invoke);
