/* An HTTP/1.1 client that keeps connections of one server busy, and records the latency of each request.

   generator KEY=VALUE...
     port=N          the server, on 127.0.0.1
     connections=N   open connections
     active=N        of these, how many send requests after their first one (the others stay idle)
     depth=N         requests that are sent together on a connection
     fresh=1         a new connection for each request
     first=FILE      the request head
     second=FILE     another request head, for every Nth request (every=N)
     body=N          bytes of zeros that follow a head
     warmup=SECONDS  before the measurement
     seconds=SECONDS of the measurement, which ends earlier after requests=N requests
     latencies=FILE  where the latencies are written: pairs of 32-bit numbers, microseconds and 0 (first) or 1 (second)

   It writes "ready" to standard output when every connection has had its first response and the warm-up is over, waits
   for a line on standard input, measures, writes one JSON object, and closes its connections at the end of standard
   input. One thread; epoll; a body that nobody looks at is discarded in the kernel. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_ROOM = 16384, BLOCK = 1 << 18, EVENTS = 512 };
enum state { CONNECTING, SENDING, HEAD, LENGTH, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, UNTIL_CLOSE, UPLOADING, DRAIN, IDLE, DEAD };

struct connection {
    int fd;
    enum state state;
    int kind;              /* of the requests that are in flight: 0 first, 1 second */
    int writable_wanted;
    long pending;          /* responses that are missing */
    long to_send;          /* bytes of the heads and the body that are not sent */
    long remaining;        /* bytes of the body, or of the chunk */
    long done;             /* responses in the measurement */
    double began;
    int closes;            /* the server said that it closes */
    int greeted;           /* an idle connection has sent its only request */
    int line;              /* bytes of the line, for the trailer */
    int held;              /* bytes of an incomplete head */
    char head[HEAD_ROOM];
};

static long port = 0, connections = 32, active = -1, depth = 1, fresh = 0, every = 0, body = 0, limit = 0;
static double warmup = 0, seconds = 1;
static const char *first_path = NULL, *second_path = NULL, *latencies_path = NULL;
static char *heads[2];
static long head_size[2];
static char *zeros, *block;
static int epoll;
static struct connection *table;
static uint32_t *latencies;
static size_t recorded, capacity;
static long issued, completed, failures, errors, reconnects, opened;
static long long received;
static int measuring;
static double now;

static double clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void fail(const char *what)
{
    fprintf(stderr, "generator: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void watch(struct connection *c, int writable)
{
    struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    if (c->writable_wanted == writable)
        return;
    if (epoll_ctl(epoll, c->writable_wanted < 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &event) < 0)
        fail("epoll_ctl");
    c->writable_wanted = writable;
}

static void record(struct connection *c)
{
    if (recorded == capacity) {
        capacity = capacity ? capacity * 2 : 1 << 20;
        latencies = realloc(latencies, capacity * 2 * sizeof *latencies);
        if (!latencies)
            fail("realloc");
    }
    latencies[recorded * 2] = (uint32_t)((now - c->began) * 1e6);
    latencies[recorded * 2 + 1] = (uint32_t)c->kind;
    recorded++;
}

static void begin(struct connection *c);
static int finish(struct connection *c);

static void open_connection(struct connection *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->writable_wanted = -1;
    c->held = 0;
    c->began = now = clock_now();
    opened++;
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) == 0) {
        watch(c, 0);
        begin(c);
    } else if (errno == EINPROGRESS) {
        c->state = CONNECTING;
        watch(c, 1);
    } else {
        fail("connect");
    }
}

static void lost(struct connection *c, int is_error)
{
    close(c->fd);
    if (is_error)
        errors++;
    else
        reconnects++;
    if (is_error && errors > 1000 && !completed) {
        c->state = DEAD;
        return;
    }
    if (c->state == IDLE || c->state == DEAD) {  /* a connection without requests stays closed: it is counted at the end */
        c->state = DEAD;
        return;
    }
    open_connection(c);
}

/* Send what is left of the request. */
static void push(struct connection *c)
{
    while (c->to_send > 0) {
        long of_body = body * depth, size;
        const char *from;
        if (c->to_send > of_body) {
            size = c->to_send - of_body;
            from = heads[c->kind] + head_size[c->kind] - size;
        } else {
            size = c->to_send < BLOCK ? c->to_send : BLOCK;
            from = zeros;
        }
        ssize_t sent = send(c->fd, from, (size_t)size, MSG_NOSIGNAL | (c->to_send > size ? MSG_MORE : 0));
        if (sent < 0) {
            if (errno == EAGAIN) {
                watch(c, 1);
                return;
            }
            lost(c, 1);
            return;
        }
        c->to_send -= sent;
    }
    watch(c, 0);
    if (c->state == UPLOADING)
        finish(c);
}

static void begin(struct connection *c)
{
    if ((c - table) >= active && c->greeted++) {
        c->state = IDLE;
        return;
    }
    if (measuring && limit && issued >= limit) {
        c->state = IDLE;
        return;
    }
    issued += depth;
    c->kind = every && (issued / depth) % every == 0;
    c->pending = depth;
    c->to_send = head_size[c->kind] + body * depth;
    c->state = HEAD;
    c->held = 0;
    c->closes = 0;
    if (!fresh)
        c->began = now = clock_now();
    push(c);
}

/* One response is complete. Returns 0 when the connection is not to be read any more. */
static int finish(struct connection *c)
{
    if (c->to_send > 0) {  /* the server has responded before it had the body: the request is over when it is sent */
        c->state = UPLOADING;
        return 1;
    }
    now = clock_now();
    completed++;
    if (measuring) {
        record(c);
        c->done++;
    }
    c->pending--;
    c->held = 0;
    if (c->pending > 0 && !c->closes) {
        c->state = HEAD;
        return 1;
    }
    if (c->closes || fresh) {
        c->state = DRAIN;
        return 1;
    }
    begin(c);
    return 0;
}

static int parse_head(struct connection *c, const char *head, size_t size)
{
    const char *line = head, *end = head + size;
    int status;
    long length = -1;
    int chunked = 0;
    if (size < 12 || memcmp(head, "HTTP/1.", 7)) {
        failures++;
        return 0;
    }
    status = atoi(head + 9);
    if (status == 100) {
        c->held = 0;
        return 1;
    }
    if (status < 200 || status > 399)
        failures++;
    c->closes = fresh || head[7] == '0';
    while ((line = memchr(line, '\n', (size_t)(end - line))) && ++line < end) {
        if ((*line | 32) == 'c' && !strncasecmp(line, "content-length:", 15))
            length = atol(line + 15);
        else if ((*line | 32) == 't' && !strncasecmp(line, "transfer-encoding: chunked", 26))
            chunked = 1;
        else if ((*line | 32) == 'c' && !strncasecmp(line, "connection: close", 17))
            c->closes = 1;
        else if ((*line | 32) == 'c' && !strncasecmp(line, "connection: keep-alive", 22) && !fresh)
            c->closes = 0;
    }
    if (chunked) {
        c->state = CHUNK_SIZE;
        c->remaining = 0;
        c->line = 0;
    } else if (length >= 0) {
        c->state = LENGTH;
        c->remaining = length;
    } else {
        c->state = UNTIL_CLOSE;
        c->closes = 1;
    }
    return 1;
}

/* Take these bytes of the response. Returns 0 when the connection was replaced, or has begun its next requests. */
static int take(struct connection *c, const char *data, long size)
{
    while (1) {
        long piece;
        if (c->state == LENGTH) {
            piece = size < c->remaining ? size : c->remaining;
            c->remaining -= piece;
            data += piece;
            size -= piece;
            if (c->remaining)
                return 1;
            if (!finish(c))
                return 0;
            continue;
        }
        if (size == 0)
            return 1;
        switch (c->state) {
        case HEAD: {
            const char *from = data;
            char *found;
            if (c->held) {
                long room = HEAD_ROOM - c->held, added = size < room ? size : room;
                memcpy(c->head + c->held, data, (size_t)added);
                found = memmem(c->head, (size_t)(c->held + added), "\r\n\r\n", 4);
                if (!found) {
                    if (added == room) {
                        lost(c, 1);
                        return 0;
                    }
                    c->held += (int)added;
                    return 1;
                }
                piece = found + 4 - c->head - c->held;
                if (!parse_head(c, c->head, (size_t)(found + 4 - c->head))) {
                    lost(c, 1);
                    return 0;
                }
            } else {
                found = memmem(data, (size_t)size, "\r\n\r\n", 4);
                if (!found) {
                    if (size > HEAD_ROOM) {
                        lost(c, 1);
                        return 0;
                    }
                    memcpy(c->head, data, (size_t)size);
                    c->held = (int)size;
                    return 1;
                }
                piece = found + 4 - from;
                if (!parse_head(c, data, (size_t)piece)) {
                    lost(c, 1);
                    return 0;
                }
            }
            data += piece;
            size -= piece;
            break;
        }
        case CHUNK_SIZE:  /* hexadecimal digits, perhaps an extension, and the end of the line */
            while (size) {
                char byte = *data++;
                size--;
                if (byte == '\n') {
                    c->state = c->remaining ? CHUNK_DATA : TRAILER;
                    c->line = 0;
                    break;
                }
                if (byte == ';')
                    c->line = 1;
                if (!c->line) {
                    if (byte >= '0' && byte <= '9')
                        c->remaining = c->remaining * 16 + byte - '0';
                    else if ((byte | 32) >= 'a' && (byte | 32) <= 'f')
                        c->remaining = c->remaining * 16 + (byte | 32) - 'a' + 10;
                }
            }
            break;
        case CHUNK_DATA:
            piece = size < c->remaining ? size : c->remaining;
            c->remaining -= piece;
            data += piece;
            size -= piece;
            if (!c->remaining)
                c->state = CHUNK_END;
            break;
        case CHUNK_END:
            size--;
            if (*data++ == '\n') {
                c->state = CHUNK_SIZE;
                c->remaining = 0;
                c->line = 0;
            }
            break;
        case TRAILER: {
            char byte = *data++;
            size--;
            if (byte == '\n') {
                if (!c->line) {
                    if (!finish(c))
                        return 0;
                    break;
                }
                c->line = 0;
            } else if (byte != '\r') {
                c->line++;
            }
            break;
        }
        case UNTIL_CLOSE:
        case UPLOADING:
        case DRAIN:
            return 1;
        default:
            lost(c, 1);  /* bytes that nobody has asked for */
            return 0;
        }
    }
}

static void readable(struct connection *c)
{
    ssize_t size;
    if (c->state == LENGTH && c->remaining >= BLOCK)
        size = recv(c->fd, NULL, (size_t)(c->remaining < (1 << 22) ? c->remaining : 1 << 22), MSG_TRUNC);
    else
        size = recv(c->fd, block, BLOCK, 0);
    if (size < 0) {
        if (errno != EAGAIN)
            lost(c, 1);
        return;
    }
    if (size == 0) {
        now = clock_now();
        if (c->state == UNTIL_CLOSE) {
            c->pending = 1;
            finish(c);
        }
        if (c->state == IDLE) {
            close(c->fd);
            c->state = DEAD;
            return;
        }
        lost(c, c->state != DRAIN);
        return;
    }
    received += size;
    take(c, block, size);
}

static void run_until(double deadline, long enough)
{
    struct epoll_event events[EVENTS];
    while ((now = clock_now()) < deadline && (!enough || completed < enough)) {
        double wait = (deadline - now) * 1e3;
        int count = epoll_wait(epoll, events, EVENTS, wait < 1 ? 1 : wait > 100 ? 100 : (int)wait);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->state == DEAD)
                continue;
            if (c->state == CONNECTING) {
                int error = 0;
                socklen_t size = sizeof error;
                getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
                if (error) {
                    lost(c, 1);
                    continue;
                }
                watch(c, 0);
                begin(c);
                continue;
            }
            if (events[i].events & EPOLLOUT && c->to_send > 0)
                push(c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                readable(c);
        }
    }
}

static void load_head(int number, const char *path)
{
    FILE *file = fopen(path, "rb");
    char one[HEAD_ROOM];
    if (!file)
        fail(path);
    size_t size = fread(one, 1, sizeof one, file);
    fclose(file);
    heads[number] = malloc(size * (size_t)depth);
    for (long i = 0; i < depth; i++)
        memcpy(heads[number] + size * (size_t)i, one, size);
    head_size[number] = (long)size * depth;
}

static double used(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

int main(int count, char **words)
{
    for (int i = 1; i < count; i++) {
        char *value = strchr(words[i], '=');
        if (!value)
            continue;
        *value++ = 0;
        if (!strcmp(words[i], "port")) port = atol(value);
        else if (!strcmp(words[i], "connections")) connections = atol(value);
        else if (!strcmp(words[i], "active")) active = atol(value);
        else if (!strcmp(words[i], "depth")) depth = atol(value);
        else if (!strcmp(words[i], "fresh")) fresh = atol(value);
        else if (!strcmp(words[i], "every")) every = atol(value);
        else if (!strcmp(words[i], "body")) body = atol(value);
        else if (!strcmp(words[i], "requests")) limit = atol(value);
        else if (!strcmp(words[i], "warmup")) warmup = atof(value);
        else if (!strcmp(words[i], "seconds")) seconds = atof(value);
        else if (!strcmp(words[i], "first")) first_path = value;
        else if (!strcmp(words[i], "second")) second_path = value;
        else if (!strcmp(words[i], "latencies")) latencies_path = value;
        else {
            fprintf(stderr, "generator: what is %s?\n", words[i]);
            return 2;
        }
    }
    if (active < 0)
        active = connections;
    if (!first_path || !latencies_path || !port || (depth > 1 && body)) {
        fprintf(stderr, "generator: port, first and latencies are needed; depth and body exclude each other\n");
        return 2;
    }
    load_head(0, first_path);
    if (second_path)
        load_head(1, second_path);
    zeros = calloc(1, BLOCK);
    block = malloc(BLOCK);
    table = calloc((size_t)connections, sizeof *table);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    /* The idle connections first: each sends one request, 64 at a time, and then nothing more. A server that does not
       keep so many gets no more than 20 seconds. */
    double patience = clock_now() + 20;
    for (long i = active; i < connections; i++) {
        if (clock_now() > patience) {
            table[i].state = DEAD;
            continue;
        }
        open_connection(&table[i]);
        if ((i - active) % 64 != 63 && i != connections - 1)
            continue;
        double enough = clock_now() + 2;
        while (clock_now() < enough && clock_now() < patience) {
            long waiting = 0;
            run_until(clock_now() + 0.001, 0);
            for (long j = active; j <= i; j++)
                waiting += table[j].state != IDLE && table[j].state != DEAD;
            if (!waiting)
                break;
        }
    }
    if (!limit) {
        for (long i = 0; i < active; i++) {
            open_connection(&table[i]);
            if (i % 4 == 3)  /* not all at once: some servers have a short backlog */
                run_until(clock_now() + 0.002, 0);
        }
        run_until(clock_now() + warmup, 0);
    }
    printf("ready\n");
    fflush(stdout);
    int byte;
    do
        byte = getchar();
    while (byte != '\n' && byte != EOF);
    completed = failures = errors = reconnects = opened = received = issued = 0;
    measuring = 1;
    double before = used(), start = clock_now();
    if (limit)
        for (long i = 0; i < active; i++)
            open_connection(&table[i]);
    run_until(start + seconds, limit);
    double elapsed = clock_now() - start, cpu = used() - before;
    long slowest = -1, fastest = 0, open = 0, stalled = 0;
    for (long i = 0; i < connections; i++) {
        struct connection *c = &table[i];
        open += c->state != DEAD && c->state != CONNECTING;
        if (i >= active)
            continue;
        if (slowest < 0 || c->done < slowest)
            slowest = c->done;
        if (c->done > fastest)
            fastest = c->done;
        stalled += c->state != IDLE && now - c->began > 1.0;
    }
    FILE *file = fopen(latencies_path, "wb");
    if (!file || fwrite(latencies, 2 * sizeof *latencies, recorded, file) != recorded || fclose(file))
        fail(latencies_path);
    printf("{\"requests\": %ld, \"seconds\": %.6f, \"bytes\": %lld, \"failures\": %ld, \"errors\": %ld, "
           "\"reconnects\": %ld, \"stalled\": %ld, \"open\": %ld, \"slowest\": %ld, \"fastest\": %ld, \"cpu\": %.6f}\n",
           completed, elapsed, received, failures, errors, reconnects, stalled, open, slowest < 0 ? 0 : slowest, fastest,
           cpu);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
