/* drive: the MTA's side of many milter connections, on one epoll loop, as fast as the filter answers.

   drive -s SOCKET [-c CONNECTIONS] [-n MESSAGES] [-p PER_CONNECTION] [-a CLIENT] [-o] MESSAGE...

   -s  Unix socket of the filter
   -c  connections at once                        (8)
   -n  messages in all                            (1000)
   -p  messages per connection, then a new one    (0 = never)
   -a  IPv4 address of the SMTP client            (127.0.0.1)
   -o  open the connections one after another, each negotiated before the next, then start
   MESSAGE   files with CRLF line ends, taken in turn

   Speaks version 6. What the filter has no reply for (SMFIP_NR_*) is sent together, up to the next command that
   has one; where a reply is due, it is waited for, as an MTA does. Time of a message: from its first octet, or
   from connect() where the connection is new, to the final reply. Prints one JSON object. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 65535, IN_OCTETS = 1 << 18 };
enum phase { NEGOTIATING, CONNECTING, TALKING };

struct text { unsigned char *at; size_t len, room; };

/* A stretch of commands that ends where a reply is due. */
struct leg { size_t start, end; char last; };
struct plan { struct text octets; struct leg *legs; int count; };
struct mail { struct text *names, *values; int fields; unsigned char *body; size_t body_len; struct plan plan; };

struct link {
    int fd, leg, served, watch_write;
    enum phase phase;
    struct plan *plan;
    const unsigned char *out;
    size_t out_len, in_len;
    double since;
    unsigned char *in;
    struct text head;
};

static const char *socket_path, *client = "127.0.0.1";
static int links = 8, total = 1000, per_link, in_turn;
static struct mail *mails;
static int mail_count, handed_out, finished, poll_fd;
static uint32_t flags;
static double *seconds;
static long verdicts[256], edits[256];

static void die(const char *what) { perror(what); exit(1); }
static void broken(const char *what) { fprintf(stderr, "drive: %s\n", what); exit(1); }

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void add(struct text *t, const void *octets, size_t len)
{
    if (t->len + len > t->room) {
        t->room = (t->len + len) * 2 + 256;
        t->at = realloc(t->at, t->room);
        if (!t->at) die("realloc");
    }
    if (len) memcpy(t->at + t->len, octets, len);
    t->len += len;
}

static void command(struct text *t, char letter, const void *data, size_t len)
{
    uint32_t size = htonl((uint32_t)len + 1);
    add(t, &size, 4);
    add(t, &letter, 1);
    add(t, data, len);
}

/* --- messages */

static void load(struct mail *m, const char *path)
{
    FILE *f = fopen(path, "rb");
    struct text all = {0};
    unsigned char piece[65536], *line, *end;
    size_t got;
    if (!f) die(path);
    while ((got = fread(piece, 1, sizeof piece, f)) > 0) add(&all, piece, got);
    fclose(f);
    add(&all, "", 1);
    end = (unsigned char *)strstr((char *)all.at, "\r\n\r\n");
    if (!end) broken("a message without an empty line");
    m->body = end + 4;
    m->body_len = all.len - 1 - (size_t)(m->body - all.at);
    for (line = all.at; line <= end;) {
        unsigned char *colon = memchr(line, ':', (size_t)(end - line)), *stop = line;
        struct text name = {0}, value = {0};
        if (!colon) broken("a header line without a colon");
        do stop = (unsigned char *)strstr((char *)stop + 1, "\r\n");
        while (stop < end && (stop[2] == ' ' || stop[2] == '\t'));
        add(&name, line, (size_t)(colon - line));
        for (unsigned char *p = colon + 1; p < stop; p++)
            if (*p != '\r') add(&value, p, 1);
        m->names = realloc(m->names, sizeof(struct text) * (size_t)(m->fields + 1));
        m->values = realloc(m->values, sizeof(struct text) * (size_t)(m->fields + 1));
        m->names[m->fields] = name;
        m->values[m->fields++] = value;
        line = stop + 2;
    }
}

static void step(struct plan *p, char letter, const void *data, size_t len, uint32_t no_reply)
{
    struct leg *leg = &p->legs[p->count - 1];
    if (leg->last) {
        p->legs = realloc(p->legs, sizeof *leg * (size_t)(p->count + 1));
        leg = &p->legs[p->count++];
        leg->start = p->octets.len;
        leg->last = 0;
    }
    command(&p->octets, letter, data, len);
    leg->end = p->octets.len;
    if (!(flags & no_reply)) leg->last = letter;
}

/* What a message is on the wire, given the flags that were agreed on. */
static void make_plan(struct mail *m)
{
    struct plan *p = &m->plan;
    if (p->count) return;
    p->legs = calloc(1, sizeof(struct leg));
    p->count = 1;
    if (!(flags & 0x4)) step(p, 'M', "<sender@example.org>", 21, 0x4000);
    if (!(flags & 0x8)) step(p, 'R', "<recipient@example.net>", 24, 0x8000);
    if (!(flags & 0x200)) step(p, 'T', "", 0, 0x10000);
    for (int i = 0; i < m->fields && !(flags & 0x20); i++) {
        struct text t = {0};
        const unsigned char *value = m->values[i].at;
        size_t len = m->values[i].len;
        /* Without SMFIP_HDR_LEADSPC the MTA eats one blank. */
        if (!(flags & 0x100000) && len && *value == ' ') value++, len--;
        add(&t, m->names[i].at, m->names[i].len);
        add(&t, "", 1);
        add(&t, value, len);
        add(&t, "", 1);
        step(p, 'L', t.at, t.len, 0x80);
        free(t.at);
    }
    if (!(flags & 0x40)) step(p, 'N', "", 0, 0x40000);
    for (size_t at = 0; at < m->body_len && !(flags & 0x10); at += CHUNK)
        step(p, 'B', m->body + at, m->body_len - at < CHUNK ? m->body_len - at : CHUNK, 0x80000);
    step(p, 'E', "", 0, 0);
}

/* --- connections */

static void watch(struct link *l, int write)
{
    struct epoll_event e = {.events = write ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = l};
    if (l->watch_write == write) return;
    l->watch_write = write;
    if (epoll_ctl(poll_fd, EPOLL_CTL_MOD, l->fd, &e)) die("epoll_ctl");
}

static void push(struct link *l)
{
    while (l->out_len) {
        ssize_t sent = send(l->fd, l->out, l->out_len, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN) { watch(l, 1); return; }
            die("send");
        }
        l->out += sent;
        l->out_len -= (size_t)sent;
    }
    watch(l, 0);
}

static void say(struct link *l, const unsigned char *octets, size_t len)
{
    l->out = octets;
    l->out_len = len;
    push(l);
}

static void open_link(struct link *l)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = l};
    uint32_t offer[3] = {htonl(6), htonl(0x1ff), htonl(0x1fffff)};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", socket_path);
    l->since = now();
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (l->fd < 0) die("socket");
    while (connect(l->fd, (struct sockaddr *)&to, sizeof to))
        if (errno != EAGAIN && errno != EINTR) die("connect");
    fcntl(l->fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, l->fd, &e)) die("epoll_ctl");
    l->phase = NEGOTIATING;
    l->served = l->watch_write = 0;
    l->in_len = 0;
    l->head.len = 0;
    command(&l->head, 'O', offer, 12);
    say(l, l->head.at, l->head.len);
}

static void close_link(struct link *l)
{
    if (send(l->fd, "\0\0\0\1Q", 5, MSG_NOSIGNAL) < 0 && errno != EPIPE) die("send");
    close(l->fd);
    l->fd = -1;
}

static void next_leg(struct link *l)
{
    struct leg *leg = &l->plan->legs[l->leg];
    say(l, l->plan->octets.at + leg->start, leg->end - leg->start);
}

/* Start the next message, if there is one left. */
static void begin_message(struct link *l)
{
    char macro[64];
    int len;
    if (handed_out >= total) { close_link(l); return; }
    l->plan = &mails[handed_out % mail_count].plan;
    make_plan(&mails[handed_out % mail_count]);
    len = snprintf(macro, sizeof macro, "Mi%cq%07d", 0, handed_out++) + 1;
    if (l->served) l->since = now();
    l->phase = TALKING;
    l->leg = 0;
    l->head.len = 0;
    command(&l->head, 'D', macro, (size_t)len);
    /* The macros and the first leg in one write. */
    add(&l->head, l->plan->octets.at + l->plan->legs[0].start, l->plan->legs[0].end - l->plan->legs[0].start);
    say(l, l->head.at, l->head.len);
}

static void after_final(struct link *l, unsigned char letter)
{
    verdicts[letter]++;
    seconds[finished++] = now() - l->since;
    l->served++;
    if (per_link && l->served >= per_link) {
        close_link(l);
        if (handed_out < total) open_link(l);
        return;
    }
    begin_message(l);
}

static void on_negotiated(struct link *l, const unsigned char *data, size_t len)
{
    char t[300];
    int n;
    uint32_t agreed;
    uint16_t port = htons(40000);
    if (len < 12) broken("a short answer to the offer");
    memcpy(&agreed, data + 8, 4);
    flags = ntohl(agreed);
    l->head.len = 0;
    n = snprintf(t, sizeof t, "Cj%cmx.example.net%c{daemon_name}%cMTA", 0, 0, 0) + 1;
    command(&l->head, 'D', t, (size_t)n);
    n = snprintf(t, sizeof t, "client.example.org%c4", 0);
    memcpy(t + n, &port, 2);
    n += 2;
    n += snprintf(t + n, sizeof t - (size_t)n, "%s", client) + 1;
    if (!(flags & 0x1)) command(&l->head, 'C', t, (size_t)n);
    if (!(flags & 0x2)) command(&l->head, 'H', "client.example.org", 19);
    say(l, l->head.at, l->head.len);
    l->phase = CONNECTING;
    /* Replies that are due to CONNECT and HELO. */
    l->leg = !(flags & 0x1) && !(flags & 0x1000);
    l->leg += !(flags & 0x2) && !(flags & 0x2000);
}

static void on_reply(struct link *l, unsigned char letter, const unsigned char *data, size_t len)
{
    if (l->phase == NEGOTIATING) {
        if (letter != 'O') broken("no answer to the offer");
        on_negotiated(l, data, len);
        if (!l->leg && !in_turn) begin_message(l);
    } else if (l->phase == CONNECTING) {
        if (letter != 'c') broken("the connection is refused");
        if (!--l->leg && !in_turn) begin_message(l);
    } else if (strchr("himbe+2-qp", letter)) {
        edits[letter]++;
    } else if (strchr("artdy", letter) || l->leg == l->plan->count - 1) {
        after_final(l, letter);
    } else {
        l->leg++;
        while (letter == 's' && l->plan->legs[l->leg].last == 'B') l->leg++;
        next_leg(l);
    }
}

static void on_readable(struct link *l)
{
    size_t at = 0;
    int fd = l->fd;
    ssize_t got = recv(fd, l->in + l->in_len, IN_OCTETS - l->in_len, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) broken("the filter has closed a connection");
    l->in_len += (size_t)got;
    while (l->in_len - at >= 5) {
        uint32_t len;
        memcpy(&len, l->in + at, 4);
        len = ntohl(len);
        if (l->in_len - at < 4 + len) break;
        on_reply(l, l->in[at + 4], l->in + at + 5, len - 1);
        if (l->fd != fd || l->phase == NEGOTIATING) return;
        at += 4 + len;
    }
    memmove(l->in, l->in + at, l->in_len - at);
    l->in_len -= at;
}

static void run_until(int (*done)(struct link *), struct link *one)
{
    struct epoll_event ready[64];
    while (!done(one)) {
        int count = epoll_wait(poll_fd, ready, 64, 60000);
        if (count == 0) broken("nothing has happened for a minute");
        for (int i = 0; i < count; i++) {
            struct link *l = ready[i].data.ptr;
            if (l->fd >= 0 && ready[i].events & EPOLLOUT) push(l);
            if (l->fd >= 0 && ready[i].events & ~(uint32_t)EPOLLOUT) on_readable(l);
        }
    }
}

static int all_done(struct link *l) { (void)l; return finished >= total; }
static int is_open(struct link *l) { return l->phase == CONNECTING && !l->leg && !l->out_len; }

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_counts(const char *name, const long *counts)
{
    const char *comma = "";
    printf(", \"%s\": {", name);
    for (int i = 0; i < 256; i++)
        if (counts[i]) printf("%s\"%c\": %ld", comma, i, counts[i]), comma = ", ";
    printf("}");
}

int main(int argc, char **argv)
{
    int option;
    double begin, took;
    struct link *all;
    while ((option = getopt(argc, argv, "s:c:n:p:a:o")) != -1)
        switch (option) {
        case 's': socket_path = optarg; break;
        case 'c': links = atoi(optarg); break;
        case 'n': total = atoi(optarg); break;
        case 'p': per_link = atoi(optarg); break;
        case 'a': client = optarg; break;
        case 'o': in_turn = 1; break;
        default: return 64;
        }
    mail_count = argc - optind;
    if (!socket_path || mail_count < 1 || links < 1 || total < 1) broken("see the top of drive.c");
    if (links > total) links = total;
    mails = calloc((size_t)mail_count, sizeof *mails);
    for (int i = 0; i < mail_count; i++) load(&mails[i], argv[optind + i]);
    seconds = calloc((size_t)total, sizeof *seconds);
    all = calloc((size_t)links, sizeof *all);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    begin = now();
    for (int i = 0; i < links; i++) {
        all[i].in = malloc(IN_OCTETS);
        open_link(&all[i]);
        if (in_turn) {
            run_until(is_open, &all[i]);
            usleep(5000);
        }
    }
    if (in_turn) {
        in_turn = 0;
        begin = now();
        for (int i = 0; i < links; i++) all[i].since = begin, begin_message(&all[i]);
    }
    run_until(all_done, NULL);
    took = now() - begin;
    qsort(seconds, (size_t)total, sizeof *seconds, by_value);
    printf("{\"messages\": %d, \"seconds\": %.4f, \"rate\": %.1f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f",
           total, took, total / took, seconds[total / 2] * 1e3, seconds[total * 99 / 100] * 1e3,
           seconds[total - 1] * 1e3);
    print_counts("verdicts", verdicts);
    print_counts("edits", edits);
    puts("}");
    return 0;
}
