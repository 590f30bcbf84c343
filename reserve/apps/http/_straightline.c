/* The straight line of HTTP in C: see straightline.py, which is the same in Python and says what each part is for.
 *
 * StraightLine.__call__ serves one request in one call: receive, or take what has come with the request before; check the
 * head, make the environ, receive the rest of a small body, call the application, check its status and fields, send. It accepts a part of what the Python form accepts, and declines the
 * rest before it has done anything that can be seen; what it accepts has the same outcome, byte for byte.
 *
 * Threads: any number of workers call one StraightLine at the same time, each for a connection that it owns. The object
 * is not changed after it was made, but for the end of the response head, which is made once a second (`tail`). There is
 * no state outside of the module object. The GIL is held during recv and sendmsg: neither blocks, and giving it up would
 * make a worker wait for applications that compute.
 *
 * Memory: a request is received into the stack, and its response head is made there. Nothing of a request is interned.
 */

#define _GNU_SOURCE /* memmem */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#define RECEIVE_SIZE 8192 /* bytes; RECEIVE_SIZE of straightline.py */
#define LARGEST_HEAD 4095 /* bytes; LARGEST_HEAD of straightline.py */
#define LENGTH_DIGITS 4   /* of a Content-Length below RECEIVE_SIZE */
#define HEAD_SIZE 4096    /* bytes of a response head; a larger one is not ordinary */
#define MOST_JOINED 65536 /* bytes of a body; MOST_JOINED of straightline.py */
#define MOST_PIECES 14    /* items of a body that are sent without being joined */
#define TAIL_SIZE 512     /* bytes of the Date and Server lines */
#define CLOSE_LINE "Connection: close\r\n"
#define NAMES 512         /* slots of the table of field names, a power of two */
#define LONGEST_NAME 64   /* characters of a name in the table */
#define BOUNDS 14         /* BOUNDS of reserve.engine.metrics.requests */
#define KINDS 64          /* pairs of method and status that a thread counts */

/* Python 3.11 has no PyErr_GetRaisedException. */
#if PY_VERSION_HEX < 0x030c0000
static PyObject *
PyErr_GetRaisedException(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
        Py_DECREF(traceback);
    }
    Py_XDECREF(type);
    return value;
}
#endif

#ifndef Py_BEGIN_CRITICAL_SECTION /* before 3.13 there is always a GIL */
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

/* ---- characters ---- */

enum {
    TOKEN = 1,  /* of a field name (RFC 9110 section 5.6.2) */
    VALUE = 2,  /* of the value of a request's field, as fields.py reads it */
    TARGET = 4, /* of a target that is a path */
    TEXT = 8,   /* of the value of a response's field, and of a reason */
};

/* What each byte may be part of; filled from these rules when the module is made, and constant afterwards. */
static void
fill_classes(unsigned char classes[256])
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (int byte = 0; byte < 256; byte++) {
        unsigned char is = 0;
        int letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        int digit = byte >= '0' && byte <= '9';
        if (letter || digit || (byte != 0 && strchr(others, byte) != NULL)) {
            is |= TOKEN;
        }
        if (byte == '\t' || (byte >= 0x20 && byte != 0x7f)) {
            is |= VALUE | TEXT;
        }
        if (byte > 0x20 && byte < 0x7f && byte != '#') {
            is |= TARGET;
        }
        classes[byte] = is;
    }
}

static inline unsigned char
lower(unsigned char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (unsigned char)(byte + 32) : byte;
}

/* Whether a text, of any case, is this one in lower case. */
static inline int
is_same(const char *text, const char *other, size_t size)
{
    for (size_t at = 0; at < size; at++) {
        if ((char)lower((unsigned char)text[at]) != other[at]) {
            return 0;
        }
    }
    return 1;
}

/* ---- the state of the module ---- */

/* What a field of a request means for the line. */
enum { ORDINARY, UNUSUAL, HOST, CONNECTION, LENGTH };

typedef struct {
    PyObject *key; /* in the environ; NULL: the slot is empty */
    unsigned char kind;
    unsigned char size;
    char name[LONGEST_NAME]; /* as it is sent: as in RFC 9110, or in lower case */
} Name;

/* The names that the line uses again and again. */
#define STRINGS(X) \
    X(REQUEST_METHOD) X(REQUEST_URI) X(PATH_INFO) X(QUERY_STRING) X(SERVER_PROTOCOL) X(HTTP_REFERER) X(HTTP_USER_AGENT) \
    X(fd) X(driver) X(deadline) X(closing) X(base_environ) X(parse_head) X(limits) X(unix_socket) X(unparsed) X(straight_response) X(decline) \
    X(leave_with) X(leave_sending) X(leave_straight_response) X(put_record) X(retiring) X(asleep) X(wake) X(identify) X(from_proxy) X(REMOTE_ADDR) X(partial) X(flush_errors) \
    X(date_line) X(__class__) X(close) X(close_failed) X(start_response) X(write) X(environ) X(length) X(keep_alive) X(minor) X(method) X(refuse_underscores) \
    X(expect_continue) X(max_body)

typedef struct {
    PyTypeObject *line_type, *response_type, *tally_type;
    PyObject *new_head;   /* reserve.protocol.codec.Head */
    PyObject *bytes_io;   /* io.BytesIO */
    PyObject *hosts;      /* CACHED_HOSTS: values of Host that have passed the check */
    PyObject *parse_head; /* reserve.protocol.http1.head.parse_head, which parse() stands in for */
    PyObject *remote_error, *ended;
    PyObject *file_wrapper, *partly_iterated, *end_item; /* of reserve.gateways.response */
    PyObject *declined, *more; /* DECLINED and MORE of reserve.engine.connections.straightline */
    PyObject *close, *linger; /* CLOSE and LINGER of reserve.engine.connections.driver */
    PyObject *no_args; /* () */
    PyObject *connection_type;
    Py_ssize_t fd, driver, deadline, closing; /* where a Connection has these: see find_slot() */
    double bounds[BOUNDS]; /* of the histograms, in seconds */
    PyObject *wsgi_input, *http11, *upgrade_key, *empty;
    PyObject *methods[6];
    Name names[NAMES];
    unsigned char classes[256];
#define X(name) PyObject *str_##name;
    STRINGS(X)
#undef X
} State;

static const char *const method_names[6] = {"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
static const size_t method_sizes[6] = {3, 4, 3, 6, 7, 5};

static struct PyModuleDef module_definition;

static PyObject *
import(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);
    if (imported == NULL) {
        return NULL;
    }
    PyObject *value = PyObject_GetAttrString(imported, name);
    Py_DECREF(imported);
    return value;
}

/* Where an object of a class with __slots__ keeps an attribute; 0: it is not known, and asked for by name. */
static Py_ssize_t
find_slot(PyObject *type, PyObject *name)
{
    Py_ssize_t offset = 0;
    PyObject *descriptor = PyObject_GetAttr(type, name);
    if (descriptor == NULL) {
        PyErr_Clear();
    }
    else if (Py_IS_TYPE(descriptor, &PyMemberDescr_Type)) {
        struct PyMemberDef *member = ((PyMemberDescrObject *)descriptor)->d_member;
        offset = member->type == T_OBJECT_EX && !(member->flags & READONLY) ? member->offset : 0;
    }
    Py_XDECREF(descriptor);
    return offset;
}

/* The attribute of an object, as PyObject_GetAttr() gets it, in a tenth of the time. Without the GIL other threads read
 * these attributes in a way that only the interpreter knows, so there it is asked. */
static inline PyObject *
get_slot(PyObject *object, PyObject *type, Py_ssize_t offset, PyObject *name)
{
#ifndef Py_GIL_DISABLED
    if (offset != 0 && (PyObject *)Py_TYPE(object) == type) {
        PyObject *value = *(PyObject **)((char *)object + offset);
        if (value != NULL) {
            return Py_NewRef(value);
        }
    }
#endif
    return PyObject_GetAttr(object, name);
}

static inline int
set_slot(PyObject *object, PyObject *type, Py_ssize_t offset, PyObject *name, PyObject *value)
{
#ifndef Py_GIL_DISABLED
    if (offset != 0 && (PyObject *)Py_TYPE(object) == type) {
        PyObject **place = (PyObject **)((char *)object + offset);
        PyObject *before = *place;
        *place = Py_NewRef(value);
        Py_XDECREF(before);
        return 0;
    }
#endif
    return PyObject_SetAttr(object, name, value);
}

/* A hash of a name: its size and a few of its characters tell the names of the table from each other. */
static inline unsigned int
hash_name(const char *name, size_t size)
{
    unsigned int hash = (unsigned int)size * 31 + (unsigned char)name[0];
    hash = hash * 31 + (unsigned char)name[size / 2];
    hash = hash * 31 + (unsigned char)name[size - 1];
    return hash ^ (hash >> 7);
}

static Name *
find_name(State *state, const char *name, size_t size)
{
    for (unsigned int slot = hash_name(name, size);; slot++) {
        Name *found = &state->names[slot & (NAMES - 1)];
        if (found->key == NULL) {
            return NULL;
        }
        if (found->size == size && memcmp(found->name, name, size) == 0) {
            return found;
        }
    }
}

/* ---- StraightResponse ---- */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    State *state;
    PyObject *connection; /* NULL: the response has ended */
    PyObject *environ, *method, *target;
    PyObject *head; /* a Head; NULL: nothing has asked for it yet */
    PyObject *content; /* wsgi.input of a request with a body; NULL: it has none */
    PyObject *wsgi; /* what has taken over; NULL: nothing */
    PyObject *status, *headers, *variables, *referer, *user_agent;
    PyObject *request_id; /* for the field X-Request-ID; NULL: there is no such field */
    double begun;
    Py_ssize_t received; /* bytes of the request, its body included */
    Py_ssize_t body;     /* bytes of its body */
    Py_ssize_t length;   /* what Content-Length says; -1: the application has not stated it */
    Py_ssize_t sent;     /* bytes of the response's body, after the connection has taken over all of them; -1: before that */
    int code;           /* 0: there is no head yet, or `wsgi` has it */
    int closes;         /* the client wants no other response on this connection */
    int is_followed;    /* more has been received after the request, which the driver has */
    char *out;          /* the head, on the stack of the line's call; NULL outside of that */
    size_t out_size;
} Response;

static int
response_traverse(PyObject *self, visitproc visit, void *arg)
{
    Response *response = (Response *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(response->connection);
    Py_VISIT(response->environ);
    Py_VISIT(response->head);
    Py_VISIT(response->content);
    Py_VISIT(response->wsgi);
    Py_VISIT(response->headers);
    Py_VISIT(response->variables);
    return 0;
}

static int
response_clear(PyObject *self)
{
    Response *response = (Response *)self;
    Py_CLEAR(response->connection);
    Py_CLEAR(response->environ);
    Py_CLEAR(response->method);
    Py_CLEAR(response->target);
    Py_CLEAR(response->head);
    Py_CLEAR(response->content);
    Py_CLEAR(response->wsgi);
    Py_CLEAR(response->status);
    Py_CLEAR(response->headers);
    Py_CLEAR(response->variables);
    Py_CLEAR(response->referer);
    Py_CLEAR(response->user_agent);
    Py_CLEAR(response->request_id);
    return 0;
}

static void
response_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    response_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* The general response, which is told what the application has said so far: a new reference. */
static PyObject *
response_leave(Response *response, const char *what)
{
    State *state = response->state;
    PyObject *wsgi, *connection;
    Py_BEGIN_CRITICAL_SECTION(response);
    wsgi = Py_XNewRef(response->wsgi);
    connection = Py_XNewRef(response->connection);
    Py_END_CRITICAL_SECTION();
    if (wsgi != NULL) {
        Py_XDECREF(connection);
        return wsgi;
    }
    if (connection == NULL || connection == Py_None) {
        Py_XDECREF(connection);
        PyObject *error = PyObject_CallFunction(state->ended, "s", what);
        if (error != NULL) {
            PyErr_SetObject((PyObject *)Py_TYPE(error), error);
            Py_DECREF(error);
        }
        return NULL;
    }
    PyObject *driver = PyObject_GetAttr(connection, state->str_driver);
    Py_DECREF(connection);
    if (driver == NULL) {
        return NULL;
    }
    wsgi = PyObject_CallMethodOneArg(driver, state->str_leave_straight_response, (PyObject *)response);
    Py_DECREF(driver);
    return wsgi;
}

/* The head on the stack is not to be written any more. */
static inline void
drop_out(Response *response)
{
    Py_BEGIN_CRITICAL_SECTION(response); /* without the GIL another thread may be in start_response */
    response->out = NULL;
    Py_END_CRITICAL_SECTION();
}

/* The response has ended: nothing of it leads to the connection any more. */
static void
end_response(Response *response)
{
    PyObject *connection;
    Py_BEGIN_CRITICAL_SECTION(response);
    response->out = NULL;
    connection = response->connection;
    response->connection = NULL;
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(connection);
}

/* Append to the head; 0: there is no room. */
static inline int
put(Response *response, const void *data, size_t size)
{
    if (response->out_size + size > HEAD_SIZE - 64) { /* 64: for the line of Content-Length */
        return 0;
    }
    memcpy(response->out + response->out_size, data, size);
    response->out_size += size;
    return 1;
}

/* The fields that are not sent as they are: RFC 9110 section 7.6.1 and what the server sets itself; with their sizes, so
 * that nearly every name is told from all of them by its size and first letter. */
static int
is_special(const char *name, size_t size)
{
    static const struct {
        size_t size;
        const char *name;
    } specials[] = {
        {4, "date"}, {6, "server"}, {10, "connection"}, {10, "keep-alive"}, {18, "proxy-authenticate"},
        {25, "proxy-authentication-info"}, {19, "proxy-authorization"}, {16, "proxy-connection"}, {2, "te"},
        {7, "trailer"}, {8, "trailers"}, {17, "transfer-encoding"}, {7, "upgrade"},
    };
    unsigned char first = lower((unsigned char)name[0]);
    if (first != 'd' && first != 's' && first != 'c' && first != 'k' && first != 'p' && first != 't' && first != 'u') {
        return 0;
    }
    for (size_t index = 0; index < sizeof specials / sizeof *specials; index++) {
        if (specials[index].size == size && is_same(name, specials[index].name, size)) {
            return 1;
        }
    }
    return 0;
}

/* The text of an exact str as bytes of latin-1; NULL: it is no such str, or has other characters. */
static inline const unsigned char *
latin1(PyObject *text, size_t *size)
{
    if (!PyUnicode_CheckExact(text) || PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND) {
        return NULL;
    }
    *size = (size_t)PyUnicode_GET_LENGTH(text);
    return PyUnicode_1BYTE_DATA(text);
}

static inline int
all_are(State *state, const unsigned char *text, size_t size, unsigned char class)
{
    unsigned char all = class;
    for (size_t at = 0; at < size; at++) {
        all &= state->classes[text[at]];
    }
    return all;
}

/* One field into the head; 0: something of it is not ordinary, or not allowed. */
static int
put_field(Response *response, PyObject *item)
{
    State *state = response->state;
    size_t name_size = 0, value_size = 0; /* as they stay where latin1() gives NULL */
    if (!PyTuple_CheckExact(item) || PyTuple_GET_SIZE(item) != 2) {
        return 0;
    }
    const unsigned char *name = latin1(PyTuple_GET_ITEM(item, 0), &name_size);
    const unsigned char *value = latin1(PyTuple_GET_ITEM(item, 1), &value_size);
    if (name == NULL || value == NULL || name_size == 0) {
        return 0;
    }
    if (!all_are(state, name, name_size, TOKEN) || !all_are(state, value, value_size, TEXT)) {
        return 0;
    }
    if (name_size == 14 && is_same((const char *)name, "content-length", 14)) {
        if (response->length >= 0 || value_size == 0 || value_size > 18) {
            return 0;
        }
        Py_ssize_t length = 0;
        for (size_t at = 0; at < value_size; at++) {
            if (value[at] < '0' || value[at] > '9') {
                return 0;
            }
            length = length * 10 + (value[at] - '0');
        }
        /* Its line comes after the others, with the name as the application has written it. */
        response->length = length;
        if (memcmp(name, "Content-Length", 14) != 0) {
            return 0;
        }
        return 1;
    }
    if (is_special((const char *)name, name_size)) {
        return 0;
    }
    return put(response, name, name_size) && put(response, ": ", 2) && put(response, value, value_size) &&
           put(response, "\r\n", 2);
}

/* The line of Content-Length, for which put() has left room. */
static void
put_length(Response *response, Py_ssize_t length)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + length % 10);
        length /= 10;
    } while (length > 0);
    char *out = response->out + response->out_size;
    memcpy(out, "Content-Length: ", 16);
    memcpy(out + 16, digits + at, sizeof digits - at);
    memcpy(out + 16 + sizeof digits - at, "\r\n", 2);
    response->out_size += 16 + sizeof digits - at + 2;
}

/* The line of X-Request-ID; 0: there is no room. */
static int
put_id(Response *response)
{
    size_t size;
    const unsigned char *text = latin1(response->request_id, &size);
    return text != NULL && put(response, "X-Request-ID: ", 14) && put(response, text, size) && put(response, "\r\n", 2);
}

/* Check and encode the head; 0: something of it is not ordinary, or not allowed. Runs no Python code, so that nothing
 * can come in between (an application may call start_response on several threads, and inside of itself).
 *
 * `fields` is a list that nothing else has. */
static int
response_begin(Response *response, PyObject *status, PyObject *fields)
{
    State *state = response->state;
    size_t size;
    const unsigned char *text = latin1(status, &size);
    response->out_size = 0;
    response->length = -1;
    if (text == NULL || size < 4 || text[0] < '2' || text[0] > '9' || text[1] < '0' || text[1] > '9' || text[2] < '0' ||
        text[2] > '9' || text[3] != ' ' || !all_are(state, text, size, TEXT)) {
        return 0;
    }
    int code = (text[0] - '0') * 100 + (text[1] - '0') * 10 + (text[2] - '0');
    if (code == 204 || code == 205 || code == 304) {
        return 0;
    }
    if (!put(response, "HTTP/1.1 ", 9) || !put(response, text, size) || !put(response, "\r\n", 2)) {
        return 0;
    }
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(fields); index++) {
        if (!put_field(response, PyList_GET_ITEM(fields, index))) {
            return 0;
        }
    }
    response->code = code;
    return 1;
}

static PyObject *response_write(PyObject *self, PyObject *data);

static PyMethodDef write_definition = {"write", response_write, METH_O, "Send data now (PEP 3333)."};

/* start_response (PEP 3333) */
static PyObject *
response_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Response *response = (Response *)self;
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (names == NULL && (count == 2 || (count == 3 && args[2] == Py_None)) && PyList_CheckExact(args[1])) {
        /* The application may change its list later. Copied before anything is looked at, because that may collect
         * garbage, and so run Python code. */
        PyObject *fields = PyList_GetSlice(args[1], 0, PY_SSIZE_T_MAX), *status = Py_NewRef(args[0]);
        int begun = 0;
        if (fields == NULL) {
            Py_DECREF(status);
            return NULL;
        }
        Py_BEGIN_CRITICAL_SECTION(self);
        if (response->out != NULL && response->wsgi == NULL && response->code == 0) {
            begun = response_begin(response, status, fields);
        }
        if (begun) {
            /* What was there before is released below. */
            PyObject *other = response->headers;
            response->headers = fields;
            fields = other;
            other = response->status;
            response->status = status;
            status = other;
        }
        Py_END_CRITICAL_SECTION();
        Py_XDECREF(fields);
        Py_XDECREF(status);
        if (begun) {
            return PyCFunction_New(&write_definition, self);
        }
    }
    PyObject *wsgi = response_leave(response, "start_response()");
    if (wsgi == NULL) {
        return NULL;
    }
    PyObject *method = PyObject_GetAttr(wsgi, response->state->str_start_response);
    Py_DECREF(wsgi);
    if (method == NULL) {
        return NULL;
    }
    PyObject *write = PyObject_Vectorcall(method, args, (size_t)count, names);
    Py_DECREF(method);
    return write;
}

static PyObject *
response_write(PyObject *self, PyObject *data)
{
    Response *response = (Response *)self;
    PyObject *wsgi = response_leave(response, "write()");
    if (wsgi == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_CallMethodOneArg(wsgi, response->state->str_write, data);
    Py_DECREF(wsgi);
    return result;
}

static PyObject *
get_head(PyObject *self, void *closure)
{
    Response *response = (Response *)self;
    PyObject *head, *environ;
    Py_BEGIN_CRITICAL_SECTION(self);
    head = Py_XNewRef(response->head);
    environ = Py_XNewRef(response->environ);
    Py_END_CRITICAL_SECTION();
    if (head == NULL && environ == NULL) {
        Py_RETURN_NONE;
    }
    if (head == NULL) {
        head = PyObject_CallFunction(response->state->new_head, "OOiOOnO", response->method, response->target, 1, environ,
                                     response->closes ? Py_False : Py_True, response->body, Py_False);
        /* The worker and a thread that shows what runs may both ask for the first time; and the response may have ended
         * meanwhile. */
        PyObject *other = NULL;
        Py_BEGIN_CRITICAL_SECTION(self);
        if (response->head != NULL) {
            other = head;
            head = Py_NewRef(response->head);
        }
        else if (response->environ != NULL) {
            response->head = Py_XNewRef(head);
        }
        Py_END_CRITICAL_SECTION();
        Py_XDECREF(other);
    }
    Py_XDECREF(environ);
    return head;
}

static PyObject *
get_lines(PyObject *self, void *closure)
{
    return PyBool_FromLong(((Response *)self)->code != 0);
}

static int
set_lines(PyObject *self, PyObject *value, void *closure)
{
    int is_true = value == NULL ? 0 : PyObject_IsTrue(value);
    if (is_true < 0) {
        return -1;
    }
    if (is_true) {
        PyErr_SetString(PyExc_ValueError, "the lines of a response can only be dropped");
        return -1;
    }
    ((Response *)self)->code = 0;
    return 0;
}

static PyMemberDef response_members[] = {
    {"connection", T_OBJECT, offsetof(Response, connection), 0, "None: the response has ended."},
    {"wsgi", T_OBJECT, offsetof(Response, wsgi), 0, "What has taken over; None: nothing."},
    {"status", T_OBJECT, offsetof(Response, status), READONLY, NULL},
    {"headers", T_OBJECT, offsetof(Response, headers), READONLY, NULL},
    {"variables", T_OBJECT, offsetof(Response, variables), READONLY, "The context of the application (PEP 567)."},
    {"referer", T_OBJECT, offsetof(Response, referer), READONLY, NULL},
    {"user_agent", T_OBJECT, offsetof(Response, user_agent), READONLY, NULL},
    {"begun", T_DOUBLE, offsetof(Response, begun), READONLY, "Seconds on the engine's clock."},
    {"received", T_PYSSIZET, offsetof(Response, received), READONLY, "Bytes of the request, its body included."},
    {"content", T_OBJECT, offsetof(Response, content), READONLY, "wsgi.input of a request with a body; None: it has none."},
    {"sent", T_PYSSIZET, offsetof(Response, sent), READONLY, "Bytes of the body, after all are sent; -1: before."},
    {"code", T_INT, offsetof(Response, code), READONLY, NULL},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Response, vectorcall), READONLY, NULL},
    {NULL},
};

static PyGetSetDef response_getset[] = {
    {"head", get_head, NULL, "The head of the request; None after its end.", NULL},
    {"lines", get_lines, set_lines, "Whether the head is checked and encoded; set to what is empty to drop it.", NULL},
    {NULL},
};

static PyMethodDef response_methods[] = {
    {"write", response_write, METH_O, "Send data now (PEP 3333)."},
    {NULL},
};

static PyType_Slot response_slots[] = {
    {Py_tp_doc, "The response to one request on the straight line, and its start_response."},
    {Py_tp_traverse, response_traverse},
    {Py_tp_clear, response_clear},
    {Py_tp_dealloc, response_dealloc},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_members, response_members},
    {Py_tp_getset, response_getset},
    {Py_tp_methods, response_methods},
    {0, NULL},
};

static PyType_Spec response_spec = {
    .name = "reserve.apps.http._straightline.StraightResponse",
    .basicsize = sizeof(Response),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = response_slots,
};

/* ---- Tally ---- */

/* What one thread counts (Tally of reserve.engine.metrics.requests). Only that thread writes it; another one that reads
 * meanwhile gets each number as it was before or after a request. */
typedef struct {
    PyObject_HEAD
    State *state;
    int kinds;
    struct {
        PyObject *method;
        int status;
        unsigned long long count;
    } kind[KINDS];
    unsigned long long received, sent, parts[BOUNDS + 1];
    double seconds;
} Tally;

#define STORE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)
#define LOAD(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)

static void
tally_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Tally *tally = (Tally *)self;
    for (int kind = 0; kind < tally->kinds; kind++) {
        Py_DECREF(tally->kind[kind].method);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
tally_read(PyObject *self, PyObject *unused)
{
    Tally *tally = (Tally *)self;
    PyObject *responses = PyDict_New(), *parts = PyTuple_New(BOUNDS + 1);
    if (responses == NULL || parts == NULL) {
        goto failed;
    }
    int kinds = LOAD(tally->kinds);
    for (int kind = 0; kind < kinds; kind++) {
        PyObject *key = Py_BuildValue("(Oi)", tally->kind[kind].method, tally->kind[kind].status);
        PyObject *count = PyLong_FromUnsignedLongLong(LOAD(tally->kind[kind].count));
        int failed = key == NULL || count == NULL || PyDict_SetItem(responses, key, count) < 0;
        Py_XDECREF(key);
        Py_XDECREF(count);
        if (failed) {
            goto failed;
        }
    }
    for (int part = 0; part <= BOUNDS; part++) {
        PyObject *count = PyLong_FromUnsignedLongLong(LOAD(tally->parts[part]));
        if (count == NULL) {
            goto failed;
        }
        PyTuple_SET_ITEM(parts, part, count);
    }
    double seconds;
    __atomic_load(&tally->seconds, &seconds, __ATOMIC_ACQUIRE);
    return Py_BuildValue("(NKKNd)", responses, LOAD(tally->received), LOAD(tally->sent), parts, seconds);
failed:
    Py_XDECREF(responses);
    Py_XDECREF(parts);
    return NULL;
}

static PyMethodDef tally_methods[] = {
    {"read", tally_read, METH_NOARGS, "What was counted."},
    {NULL},
};

static PyType_Slot tally_slots[] = {
    {Py_tp_doc, "What one thread has counted."},
    {Py_tp_dealloc, tally_dealloc},
    {Py_tp_methods, tally_methods},
    {0, NULL},
};

static PyType_Spec tally_spec = {
    .name = "reserve.apps.http._straightline.Tally",
    .basicsize = sizeof(Tally),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = tally_slots,
};

/* ---- StraightLine ---- */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    State *state;
    PyObject *context, *app, *gateway;
    PyObject *partial; /* the incomplete lines of wsgi.errors, by thread: a dict */
    PyObject *log;     /* the access log; NULL: there is none */
    PyObject *records, *append; /* its queue, and what adds to that; NULL: the driver puts every record */
    Py_ssize_t most_records, longest;
    PyObject *special; /* context.is_special; NULL: every path is for the application */
    PyObject *paths;   /* the paths that are not, if there are no folders of files; NULL: `special` is asked */
    PyObject *server_line, *server, *now, *tallies;
    PyObject *driver_type;
    Py_ssize_t base_environ, parse_head, straight_response, unparsed; /* where an HTTPStraightDriver has these */
    int refuse_underscores;
    int streams; /* the application reads bodies while they arrive */
    int has_ids, shows_ids; /* requests have IDs; and the field X-Request-ID of their responses has them */
    double keep_alive;
    Py_ssize_t largest, most_fields;
    time_t tail_second; /* which second `tail` is for */
    size_t tail_size;
    char tail[TAIL_SIZE]; /* the lines that end every head */
} Line;

static int
line_traverse(PyObject *self, visitproc visit, void *arg)
{
    Line *line = (Line *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(line->context);
    Py_VISIT(line->app);
    Py_VISIT(line->partial);
    Py_VISIT(line->gateway);
    Py_VISIT(line->log);
    Py_VISIT(line->records);
    Py_VISIT(line->append);
    Py_VISIT(line->special);
    Py_VISIT(line->paths);
    Py_VISIT(line->server);
    Py_VISIT(line->now);
    Py_VISIT(line->tallies);
    Py_VISIT(line->driver_type);
    return 0;
}

static int
line_clear(PyObject *self)
{
    Line *line = (Line *)self;
    Py_CLEAR(line->context);
    Py_CLEAR(line->app);
    Py_CLEAR(line->partial);
    Py_CLEAR(line->gateway);
    Py_CLEAR(line->log);
    Py_CLEAR(line->records);
    Py_CLEAR(line->append);
    Py_CLEAR(line->special);
    Py_CLEAR(line->paths);
    Py_CLEAR(line->server_line);
    Py_CLEAR(line->server);
    Py_CLEAR(line->now);
    Py_CLEAR(line->tallies);
    Py_CLEAR(line->driver_type);
    return 0;
}

static void
line_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    line_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Percent-decode a path once, to latin-1; a malformed escape stays as it is: decode_path() of requestline.py. */
static PyObject *
decode_path(const char *path, size_t size)
{
    char decoded[RECEIVE_SIZE];
    size_t length = 0;
    for (size_t at = 0; at < size; at++) {
        int value = 0;
        int digits = 0;
        if (path[at] == '%') {
            while (digits < 2 && at + 1 + (size_t)digits < size) {
                unsigned char digit = lower((unsigned char)path[at + 1 + (size_t)digits]);
                if (digit >= '0' && digit <= '9') {
                    value = value * 16 + (digit - '0');
                }
                else if (digit >= 'a' && digit <= 'f') {
                    value = value * 16 + (digit - 'a' + 10);
                }
                else {
                    break;
                }
                digits++;
            }
        }
        if (digits == 2) {
            decoded[length++] = (char)value;
            at += 2;
        }
        else {
            decoded[length++] = path[at];
        }
    }
    return PyUnicode_DecodeLatin1(decoded, (Py_ssize_t)length, NULL);
}

static inline PyObject *
ascii(const char *text, size_t size)
{
    PyObject *string = PyUnicode_New((Py_ssize_t)size, 127);
    if (string != NULL && size > 0) {
        memcpy(PyUnicode_1BYTE_DATA(string), text, size);
    }
    return string;
}

/* The environ key of a name that is not in the table: a new reference; NULL with or without an exception (not ordinary). */
static PyObject *
make_key(State *state, const char *name, size_t size)
{
    static const char *const unusual[] = {
        "CONTENT_LENGTH", "CONTENT_TYPE", "TRANSFER_ENCODING", "EXPECT", "UPGRADE", "PROXY", "HOST", "CONNECTION",
    };
    char key[RECEIVE_SIZE + 8];
    memcpy(key, "HTTP_", 5);
    for (size_t at = 0; at < size; at++) {
        unsigned char byte = (unsigned char)name[at];
        if (byte == '_') {
            return NULL;
        }
        key[5 + at] = byte == '-' ? '_' : (char)(byte >= 'a' && byte <= 'z' ? byte - 32 : byte);
    }
    key[5 + size] = '\0';
    for (size_t index = 0; index < sizeof unusual / sizeof *unusual; index++) {
        if (strcmp(key + 5, unusual[index]) == 0) { /* written in another way than in the table */
            return NULL;
        }
    }
    (void)state;
    return ascii(key, 5 + size);
}

/* A head that has been accepted. */
typedef struct {
    PyObject *environ, *method, *target;
    Py_ssize_t head; /* bytes of it, with the empty line */
    Py_ssize_t body; /* what Content-Length says; 0: there is none */
    int closes; /* the client wants no other response on this connection */
} Parsed;

static inline int
set_new(PyObject *environ, PyObject *key, PyObject *value)
{
    if (value == NULL) {
        return -1;
    }
    int outcome = PyDict_SetItem(environ, key, value);
    Py_DECREF(value);
    return outcome;
}

/* Read a Content-Length that is in its plain form, so that it is in the environ as it came, and small. 0: it is not. */
static int
read_length(const char *value, size_t size, Py_ssize_t *length)
{
    if (size == 0 || size > LENGTH_DIGITS || (size > 1 && value[0] == '0')) {
        return 0;
    }
    *length = 0;
    for (size_t at = 0; at < size; at++) {
        if (value[at] < '0' || value[at] > '9') {
            return 0;
        }
        *length = *length * 10 + (value[at] - '0');
    }
    return 1;
}

/* Read the field lines, up to the empty line, into the environ. 1: all are ordinary; 0: not all, or there is no end; -1: an
 * exception. */
static int
parse_fields(Line *line, const char *at, const char *end, PyObject *environ, const char **head_end, Py_ssize_t *body,
             int *closes)
{
    State *state = line->state;
    const unsigned char *classes = state->classes;
    Py_ssize_t count = 0;
    int has_host = 0;
    Py_ssize_t before = PyDict_GET_SIZE(environ);
    for (;;) {
        const char *name = at;
        while (at < end && classes[(unsigned char)*at] & TOKEN) {
            at++;
        }
        size_t name_size = (size_t)(at - name);
        if (at == end || name_size == 0 || *at != ':') {
            if (name_size != 0 || end - at < 2 || at[0] != '\r' || at[1] != '\n') {
                return 0;
            }
            *head_end = at + 2;
            break;
        }
        at++;
        const char *value = at;
        unsigned long long high = 0, eight;
        /* Eight bytes at a time, up to the first ones that are a control character (the CR at the end is one) or DEL. */
        while (end - at >= 8) {
            memcpy(&eight, at, 8);
            unsigned long long control = (eight - 0x2020202020202020u) & ~eight;
            unsigned long long del = eight ^ 0x7f7f7f7f7f7f7f7fu;
            if ((control | ((del - 0x0101010101010101u) & ~del)) & 0x8080808080808080u) {
                break;
            }
            high |= eight & 0x8080808080808080u;
            at += 8;
        }
        while (at < end && classes[(unsigned char)*at] & VALUE) {
            high |= (unsigned char)*at & 0x80;
            at++;
        }
        const char *value_end = at;
        if (end - at < 2 || at[0] != '\r' || at[1] != '\n') {
            return 0;
        }
        at += 2;
        while (value < value_end && (*value == ' ' || *value == '\t')) {
            value++;
        }
        while (value < value_end && (value_end[-1] == ' ' || value_end[-1] == '\t')) {
            value_end--;
        }
        size_t value_size = (size_t)(value_end - value);
        if (++count > line->most_fields) {
            return 0;
        }
        PyObject *key;
        PyObject *text = high != 0 ? PyUnicode_DecodeLatin1(value, (Py_ssize_t)value_size, NULL)
                                     : ascii(value, value_size);
        if (text == NULL) {
            return -1;
        }
        Name *known = name_size <= LONGEST_NAME ? find_name(state, name, name_size) : NULL;
        if (known != NULL) {
            key = Py_NewRef(known->key);
            if (known->kind == UNUSUAL) {
                Py_DECREF(text);
                Py_DECREF(key);
                return 0;
            }
            if (known->kind == HOST) {
                int found = PySet_Contains(state->hosts, text);
                if (found <= 0) {
                    Py_DECREF(text);
                    Py_DECREF(key);
                    return found;
                }
                has_host = 1;
            }
            else if (known->kind == LENGTH && !read_length(value, value_size, body)) {
                Py_DECREF(text);
                Py_DECREF(key);
                return 0;
            }
            else if (known->kind == CONNECTION &&
                     !(value_size == 10 && is_same(value, "keep-alive", 10))) {
                *closes = value_size == 5 && is_same(value, "close", 5);
                if (!*closes) {
                    Py_DECREF(text);
                    Py_DECREF(key);
                    return 0;
                }
            }
        }
        else {
            key = make_key(state, name, name_size);
            if (key == NULL) {
                Py_DECREF(text);
                return PyErr_Occurred() ? -1 : 0;
            }
        }
        int outcome = PyDict_SetItem(environ, key, text);
        Py_DECREF(key);
        Py_DECREF(text);
        if (outcome < 0) {
            return -1;
        }
    }
    return has_host && PyDict_GET_SIZE(environ) == before + count; /* else a name is repeated */
}

/* Parse the head of an ordinary request, in the first `size` bytes of what ends with a NUL. 1: `parsed` has it; 0: it is not
 * ordinary, or not complete; -1: an exception. */
static int
parse(Line *line, PyObject *base, const char *data, size_t size, Parsed *parsed)
{
    State *state = line->state;
    const char *end = data + size, *head_end = NULL;
    const char *space = memchr(data, ' ', size);
    if (space == NULL) {
        return 0;
    }
    PyObject *method = NULL;
    size_t method_size = (size_t)(space - data);
    for (size_t index = 0; index < 6; index++) {
        if (method_sizes[index] == method_size && memcmp(method_names[index], data, method_size) == 0) {
            method = state->methods[index];
            break;
        }
    }
    const char *target = space + 1;
    if (method == NULL || *target != '/') {
        return 0;
    }
    const char *at = target, *query = NULL, *path_end;
    int has_escape = 0;
    while (state->classes[(unsigned char)*at] & TARGET) {
        if (*at == '?' && query == NULL) {
            query = at + 1;
        }
        else if (*at == '%' && query == NULL) {
            has_escape = 1;
        }
        at++;
    }
    size_t target_size = (size_t)(at - target);
    path_end = query == NULL ? at : query - 1;
    if (end - at < 11 || memcmp(at, " HTTP/1.1\r\n", 11) != 0) {
        return 0;
    }
    PyObject *environ = PyDict_Copy(base);
    if (environ == NULL) {
        return -1;
    }
    size_t path_size = (size_t)(path_end - target);
    PyObject *uri = ascii(target, target_size);
    if (uri == NULL || PyDict_SetItem(environ, state->str_REQUEST_METHOD, method) < 0 ||
        PyDict_SetItem(environ, state->str_REQUEST_URI, uri) < 0 ||
        set_new(environ, state->str_PATH_INFO,
                has_escape ? decode_path(target, path_size)
                           : (path_size == target_size ? Py_NewRef(uri) : ascii(target, path_size))) < 0 ||
        set_new(environ, state->str_QUERY_STRING,
                query == NULL ? Py_NewRef(state->empty) : ascii(query, (size_t)(at - query))) < 0 ||
        PyDict_SetItem(environ, state->str_SERVER_PROTOCOL, state->http11) < 0) {
        Py_XDECREF(uri);
        Py_DECREF(environ);
        return -1;
    }
    Py_ssize_t body = 0;
    int outcome = parse_fields(line, at + 11, end, environ, &head_end, &body, &parsed->closes);
    if (outcome <= 0) {
        Py_DECREF(uri);
        Py_DECREF(environ);
        return outcome;
    }
    parsed->environ = environ;
    parsed->method = Py_NewRef(method);
    parsed->target = uri;
    parsed->head = head_end - data;
    parsed->body = body;
    return 1;
}

/* Leave the parsing to Python, because the connection has a parser of its own: it reads what frontends say. */
static int
parse_in_python(Line *line, PyObject *driver, PyObject *parser, const char *data, size_t size, Parsed *parsed,
                PyObject **head)
{
    State *state = line->state;
    int outcome = -1;
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (end == NULL) {
        return 0;
    }
    size = (size_t)(end + 4 - data);
    PyObject *block = PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
    PyObject *base = PyObject_GetAttr(driver, state->str_base_environ);
    PyObject *limits = PyObject_GetAttr(driver, state->str_limits);
    PyObject *unix_socket = PyObject_GetAttr(driver, state->str_unix_socket);
    PyObject *names = PyTuple_Pack(2, state->str_refuse_underscores, state->str_unix_socket);
    *head = NULL;
    if (block != NULL && base != NULL && limits != NULL && unix_socket != NULL && names != NULL) {
        PyObject *args[5] = {block, base, limits, line->refuse_underscores ? Py_True : Py_False, unix_socket};
        *head = PyObject_Vectorcall(parser, args, 3, names);
        if (*head == NULL && PyErr_ExceptionMatches(state->remote_error)) {
            PyErr_Clear();
            outcome = 0;
        }
    }
    Py_XDECREF(block);
    Py_XDECREF(base);
    Py_XDECREF(limits);
    Py_XDECREF(unix_socket);
    Py_XDECREF(names);
    if (*head == NULL) {
        return outcome;
    }
    PyObject *environ = PyObject_GetAttr(*head, state->str_environ);
    PyObject *method = PyObject_GetAttr(*head, state->str_method);
    PyObject *length = PyObject_GetAttr(*head, state->str_length);
    PyObject *keep_alive = PyObject_GetAttr(*head, state->str_keep_alive);
    PyObject *minor = PyObject_GetAttr(*head, state->str_minor);
    PyObject *waits = PyObject_GetAttr(*head, state->str_expect_continue);
    if (environ != NULL && method != NULL && length != NULL && keep_alive != NULL && minor != NULL && waits != NULL &&
        PyDict_CheckExact(environ) && PyUnicode_CheckExact(method)) {
        int is_upgrade = PyDict_Contains(environ, state->upgrade_key), is_large = 0;
        long long body = PyLong_CheckExact(length) ? PyLong_AsLongLongAndOverflow(length, &is_large) : -1; /* chunked */
        outcome = is_upgrade < 0 ? -1
                                 : !is_upgrade && body >= 0 && body < RECEIVE_SIZE && waits == Py_False &&
                                       PyObject_IsTrue(minor) == 1;
        parsed->head = (Py_ssize_t)size;
        parsed->body = outcome == 1 ? (Py_ssize_t)body : 0;
        parsed->closes = keep_alive != Py_True;
    }
    PyObject *known = NULL; /* the same method, as the object that count_response() knows */
    for (int index = 0; outcome == 1 && index < 6 && known == NULL; index++) {
        known = PyUnicode_Compare(method, state->methods[index]) == 0 ? state->methods[index] : NULL;
    }
    if (known != NULL) {
        parsed->environ = Py_NewRef(environ);
        parsed->method = Py_NewRef(known);
        parsed->target = NULL;
    }
    else {
        outcome = PyErr_Occurred() ? -1 : 0;
        Py_CLEAR(*head);
    }
    Py_XDECREF(environ);
    Py_XDECREF(method);
    Py_XDECREF(length);
    Py_XDECREF(keep_alive);
    Py_XDECREF(minor);
    Py_XDECREF(waits);
    return outcome;
}

/* Whether a body is within the limit of its connection, which is that of the settings at its begin; -1: an exception. */
static int
is_allowed(State *state, PyObject *driver, Py_ssize_t body)
{
    PyObject *limits = PyObject_GetAttr(driver, state->str_limits);
    PyObject *most = limits == NULL ? NULL : PyObject_GetAttr(limits, state->str_max_body);
    int is_large = 0;
    long long limit = most == NULL ? -1 : PyLong_AsLongLongAndOverflow(most, &is_large);
    Py_XDECREF(limits);
    Py_XDECREF(most);
    if (limit == -1 && PyErr_Occurred()) {
        return -1;
    }
    return is_large > 0 || body <= limit;
}

/* Receive what is missing of a small body. 1: the request is complete; 0: not; -1: an exception. */
static int
receive_body(Line *line, PyObject *driver, int fd, char *data, ssize_t *size, Parsed *parsed)
{
    ssize_t whole = parsed->head + parsed->body;
    if (whole >= RECEIVE_SIZE || line->streams) {
        return 0;
    }
    int allowed = parsed->target == NULL ? 1 : is_allowed(line->state, driver, parsed->body); /* NULL: Python has checked it */
    if (allowed != 1) {
        return allowed;
    }
    if (*size < whole) { /* many clients send head and body one after the other */
        ssize_t more = recv(fd, data + *size, RECEIVE_SIZE - (size_t)*size, MSG_DONTWAIT);
        *size += more > 0 ? more : 0; /* the driver finds out about errors */
    }
    return *size >= whole;
}

/* Have the driver keep what has been received after a request. -1: an exception. */
static int
set_unparsed(Line *line, PyObject *driver, const char *data, ssize_t size)
{
    PyObject *bytes = PyBytes_FromStringAndSize(data, size);
    int outcome = bytes == NULL
                      ? -1
                      : set_slot(driver, line->driver_type, line->unparsed, line->state->str_unparsed, bytes);
    Py_XDECREF(bytes);
    return outcome;
}

/* Receive, or take what the driver has kept, because it came with the request before. 0: nothing, or the connection has
 * failed; -1: an exception. */
static ssize_t
receive(Line *line, PyObject *driver, int fd, char *data)
{
    PyObject *unparsed = get_slot(driver, line->driver_type, line->unparsed, line->state->str_unparsed);
    if (unparsed == NULL) {
        return -1;
    }
    ssize_t size = -1;
    if (!PyBytes_CheckExact(unparsed) || PyBytes_GET_SIZE(unparsed) > RECEIVE_SIZE) {
        PyErr_SetString(PyExc_SystemError, "what has been received is not bytes, or more than was asked for");
    }
    else if (PyBytes_GET_SIZE(unparsed) == 0) {
        size = recv(fd, data, RECEIVE_SIZE, MSG_DONTWAIT);
        size = size < 0 ? 0 : size;
    }
    else {
        memcpy(data, PyBytes_AS_STRING(unparsed), (size_t)PyBytes_GET_SIZE(unparsed));
        size = set_unparsed(line, driver, NULL, 0) < 0 ? -1 : PyBytes_GET_SIZE(unparsed);
    }
    Py_DECREF(unparsed);
    return size;
}

/* Copy the lines that end every head in this second. 0: they are too long; -1: an exception. */
static Py_ssize_t
put_tail(Line *line, char *out)
{
    struct timespec now;
    Py_ssize_t size = -1;
    clock_gettime(CLOCK_REALTIME, &now);
    Py_BEGIN_CRITICAL_SECTION(line);
    if (line->tail_second == now.tv_sec && line->tail_size != 0) {
        size = (Py_ssize_t)line->tail_size;
        memcpy(out, line->tail, line->tail_size);
    }
    Py_END_CRITICAL_SECTION();
    if (size >= 0) {
        return size;
    }
    PyObject *date = PyObject_CallMethodNoArgs(line->context, line->state->str_date_line);
    if (date == NULL) {
        return -1;
    }
    if (!PyBytes_CheckExact(date)) {
        PyErr_SetString(PyExc_TypeError, "the Date line is not bytes");
        Py_DECREF(date);
        return -1;
    }
    if (PyBytes_GET_SIZE(date) + PyBytes_GET_SIZE(line->server_line) + 2 > TAIL_SIZE) { /* --server-header */
        Py_DECREF(date);
        return 0;
    }
    size_t date_size = (size_t)PyBytes_GET_SIZE(date), server_size = (size_t)PyBytes_GET_SIZE(line->server_line);
    memcpy(out, PyBytes_AS_STRING(date), date_size);
    memcpy(out + date_size, PyBytes_AS_STRING(line->server_line), server_size);
    memcpy(out + date_size + server_size, "\r\n", 2);
    size = (Py_ssize_t)(date_size + server_size + 2);
    Py_DECREF(date);
    Py_BEGIN_CRITICAL_SECTION(line);
    memcpy(line->tail, out, (size_t)size);
    line->tail_size = (size_t)size;
    line->tail_second = now.tv_sec;
    Py_END_CRITICAL_SECTION();
    return size;
}

/* Give the driver what was received. */
static PyObject *
decline(State *state, PyObject *driver, const char *data, size_t size)
{
    PyObject *bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
    if (bytes == NULL) {
        return NULL;
    }
    PyObject *outcome = PyObject_CallMethodOneArg(driver, state->str_decline, bytes);
    Py_DECREF(bytes);
    return outcome;
}

/* The driver goes on, with what the application has returned (NULL: nothing), and with the exception that is set, if any.
 * Steals `result`. */
static PyObject *
leave_with(State *state, PyObject *driver, Response *response, PyObject *result)
{
    PyObject *failure = NULL;
    drop_out(response);
    if (PyErr_Occurred()) {
        failure = PyErr_GetRaisedException();
    }
    PyObject *args[4] = {driver, (PyObject *)response, result == NULL ? Py_None : result,
                         failure == NULL ? Py_None : failure};
    PyObject *outcome =
        PyObject_VectorcallMethod(state->str_leave_with, args, 4 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_XDECREF(result);
    Py_XDECREF(failure);
    return outcome;
}

/* What is left of a result: `item` (NULL: it is sent, or there was none), and what the iterator has (None: it has ended).
 * A new reference. */
static PyObject *
partly_iterated(State *state, PyObject *result, PyObject *iterator, PyObject *item)
{
    return PyObject_CallFunctionObjArgs(state->partly_iterated, result, iterator, item == NULL ? state->end_item : item,
                                        NULL);
}

/* The driver goes on with what is left of a result, or with the exception that is set. `item` is what the iterator has
 * yielded last; NULL: it has ended. */
static PyObject *
leave_iterating(State *state, PyObject *driver, Response *response, PyObject *result, PyObject *iterator, PyObject *item)
{
    PyObject *rest = PyErr_Occurred() ? NULL : partly_iterated(state, result, item == NULL ? Py_None : iterator, item);
    return leave_with(state, driver, response, rest == NULL ? Py_NewRef(result) : rest);
}

/* The socket has taken `count` bytes of the response only. `rest`: see HTTPStraightDriver.leave_sending(); NULL: none. */
static PyObject *
leave_sending(State *state, PyObject *driver, Response *response, struct iovec *pieces, int piece_count,
              Py_ssize_t total, Py_ssize_t count, PyObject *rest)
{
    drop_out(response);
    PyObject *message = PyBytes_FromStringAndSize(NULL, total), *count_object = PyLong_FromSsize_t(count);
    PyObject *outcome = NULL;
    if (message != NULL && count_object != NULL) {
        char *at = PyBytes_AS_STRING(message);
        for (int index = 0; index < piece_count; index++) {
            memcpy(at, pieces[index].iov_base, pieces[index].iov_len);
            at += pieces[index].iov_len;
        }
        PyObject *args[5] = {driver, (PyObject *)response, message, count_object, rest == NULL ? Py_None : rest};
        outcome = PyObject_VectorcallMethod(state->str_leave_sending, args, 5 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    else if (rest != NULL) { /* its close() has to be called */
        outcome = leave_with(state, driver, response, Py_NewRef(rest));
    }
    Py_XDECREF(count_object);
    Py_XDECREF(message);
    return outcome;
}

static int
count_in_python(Line *line, Response *response, Py_ssize_t sent, double seconds)
{
    PyObject *metrics = PyObject_GetAttrString(line->server, "request_metrics");
    PyObject *none = metrics == NULL ? NULL
                                     : PyObject_CallMethod(metrics, "add", "Oinndd", response->method, response->code,
                                                           response->received, sent, 0.0, seconds);
    Py_XDECREF(metrics);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* Count the response, by the thread that has made it. */
static int
count_response(Line *line, Response *response, Py_ssize_t sent, double seconds)
{
    State *state = line->state;
    PyObject *ident = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    if (ident == NULL) {
        return -1;
    }
    Tally *tally = NULL;
#if PY_VERSION_HEX >= 0x030d0000
    PyObject *found;
    if (PyDict_GetItemRef(line->tallies, ident, &found) < 0) {
        Py_DECREF(ident);
        return -1;
    }
#else
    PyObject *found = PyDict_GetItemWithError(line->tallies, ident);
    if (found == NULL && PyErr_Occurred()) {
        Py_DECREF(ident);
        return -1;
    }
    Py_XINCREF(found);
#endif
    if (found == NULL) {
        tally = (Tally *)state->tally_type->tp_alloc(state->tally_type, 0);
        if (tally == NULL || PyDict_SetItem(line->tallies, ident, (PyObject *)tally) < 0) {
            Py_XDECREF(tally);
            Py_DECREF(ident);
            return -1;
        }
        tally->state = state;
    }
    else {
        tally = (Tally *)found;
    }
    Py_DECREF(ident);
    if (!Py_IS_TYPE(tally, state->tally_type)) { /* of this module, which was imported a second time meanwhile */
        Py_DECREF(tally);
        return count_in_python(line, response, sent, seconds);
    }
    int kind = 0;
    while (kind < tally->kinds &&
           (tally->kind[kind].method != response->method || tally->kind[kind].status != response->code)) {
        kind++;
    }
    if (kind == KINDS) { /* the application makes up statuses: the slower way has room for all */
        Py_DECREF(tally);
        return count_in_python(line, response, sent, seconds);
    }
    if (kind == tally->kinds) {
        tally->kind[kind].method = Py_NewRef(response->method);
        tally->kind[kind].status = response->code;
        STORE(tally->kinds, kind + 1);
    }
    int part = 0;
    while (part < BOUNDS && seconds > state->bounds[part]) {
        part++;
    }
    STORE(tally->kind[kind].count, tally->kind[kind].count + 1);
    STORE(tally->received, tally->received + (unsigned long long)response->received);
    STORE(tally->sent, tally->sent + (unsigned long long)sent);
    STORE(tally->parts[part], tally->parts[part] + 1);
    seconds += tally->seconds;
    __atomic_store(&tally->seconds, &seconds, __ATOMIC_RELEASE);
    Py_DECREF(tally);
    return 0;
}

/* A value of the environ; a new reference, an empty str if there is none. */
static PyObject *
field_of(State *state, PyObject *environ, PyObject *key)
{
    PyObject *value = PyDict_GetItemWithError(environ, key); /* the worker owns the environ: nothing else changes it */
    if (value == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(state->empty);
    }
    return Py_NewRef(value);
}

/* Put a record of the access log: see LineWriter in reserve/engine/logs/errorlog.py, and record.py for its values. */
static int
log_response(Line *line, PyObject *driver, Response *response, Py_ssize_t sent)
{
    State *state = line->state;
    PyObject *referer = response->referer, *user_agent = response->user_agent, *none;
    if (line->records == NULL || response->target == NULL || PyObject_Size(line->records) >= line->most_records ||
        !PyUnicode_Check(referer) || !PyUnicode_Check(user_agent) ||
        PyUnicode_GET_LENGTH(response->method) + PyUnicode_GET_LENGTH(response->target) + PyUnicode_GET_LENGTH(referer) +
                PyUnicode_GET_LENGTH(user_agent) > line->longest) {
        /* Some paths are not logged, the client is another one than the peer, the log is full, or a text is cut. */
        PyObject *head = get_head((PyObject *)response, NULL), *code = PyLong_FromLong(response->code),
                 *size = PyLong_FromSsize_t(sent);
        none = NULL;
        if (head != NULL && code != NULL && size != NULL) {
            PyObject *args[6] = {driver, head, code, size, referer, user_agent};
            none = PyObject_VectorcallMethod(state->str_put_record, args, 6 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        }
        Py_XDECREF(head);
        Py_XDECREF(code);
        Py_XDECREF(size);
        Py_XDECREF(none);
        return none == NULL ? -1 : 0;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    PyObject *base = get_slot(driver, line->driver_type, line->base_environ, state->str_base_environ);
    PyObject *host = base == NULL ? NULL : field_of(state, base, state->str_REMOTE_ADDR);
    Py_XDECREF(base);
    PyObject *record = host == NULL ? NULL : PyTuple_New(9);
    if (record == NULL) {
        Py_XDECREF(host);
        return -1;
    }
    PyObject *values[9] = {
        PyFloat_FromDouble((double)now.tv_sec + (double)now.tv_nsec * 1e-9), host, Py_NewRef(response->method),
        Py_NewRef(response->target), Py_NewRef(state->http11), PyLong_FromLong(response->code), PyLong_FromSsize_t(sent),
        Py_NewRef(referer), Py_NewRef(user_agent),
    };
    int failed = values[0] == NULL || values[5] == NULL || values[6] == NULL;
    for (int index = 0; index < 9; index++) {
        PyTuple_SET_ITEM(record, index, values[index]);
    }
    none = failed ? NULL : PyObject_CallOneArg(line->append, record);
    Py_DECREF(record);
    if (none == NULL) {
        return -1;
    }
    Py_DECREF(none);
    PyObject *asleep = PyObject_GetAttr(line->log, state->str_asleep);
    if (asleep == NULL) {
        return -1;
    }
    int sleeps = asleep != Py_False;
    Py_DECREF(asleep);
    if (sleeps) {
        none = PyObject_CallMethodNoArgs(line->log, state->str_wake);
        Py_XDECREF(none);
        return none == NULL ? -1 : 0;
    }
    return 0;
}

/* Make the response of a request that is parsed, and whose body follows its head in `data`; steals what `parsed` and `head`
 * have. */
static Response *
make_response(Line *line, PyObject *connection, Parsed *parsed, PyObject *head, double begun, const char *data)
{
    State *state = line->state;
    Response *response = PyObject_GC_New(Response, state->response_type);
    if (response == NULL) {
        Py_DECREF(parsed->environ);
        Py_DECREF(parsed->method);
        Py_XDECREF(parsed->target);
        Py_XDECREF(head);
        return NULL;
    }
    response->vectorcall = response_call;
    response->state = state;
    response->connection = Py_NewRef(connection);
    response->environ = parsed->environ;
    response->method = parsed->method;
    response->target = parsed->target;
    response->head = head;
    response->wsgi = response->status = response->headers = response->referer = response->user_agent = NULL;
    response->request_id = response->content = NULL;
    response->variables = PyContext_New(); /* threads are reused: what one request sets must not be there for the next */
    response->begun = begun;
    response->received = parsed->head + parsed->body;
    response->body = parsed->body;
    response->closes = parsed->closes;
    response->is_followed = 0;
    response->length = response->sent = -1;
    response->code = 0;
    response->out = NULL;
    response->out_size = 0;
    PyObject_GC_Track(response);
    int failed = response->variables == NULL;
    PyTypeObject *input_type = (PyTypeObject *)state->bytes_io;
    PyObject *input = NULL;
    if (!failed && parsed->body == 0) {
        /* Without its __init__, which only takes a content, the object is empty. */
        input = input_type->tp_new(input_type, state->no_args, NULL);
    }
    else if (!failed) {
        PyObject *body = PyBytes_FromStringAndSize(data + parsed->head, parsed->body);
        input = body == NULL ? NULL : PyObject_CallOneArg(state->bytes_io, body); /* shares the bytes */
        Py_XDECREF(body);
        response->content = Py_XNewRef(input);
    }
    failed = failed || input == NULL || PyDict_SetItem(response->environ, state->wsgi_input, input) < 0;
    Py_XDECREF(input);
    if (!failed && line->log != NULL) {
        /* Read before the application may change its environ. */
        response->referer = field_of(state, response->environ, state->str_HTTP_REFERER);
        response->user_agent = field_of(state, response->environ, state->str_HTTP_USER_AGENT);
        failed = response->referer == NULL || response->user_agent == NULL;
    }
    else if (!failed) {
        response->referer = Py_NewRef(state->empty);
        response->user_agent = Py_NewRef(state->empty);
    }
    if (failed) {
        Py_DECREF(response);
        return NULL;
    }
    return response;
}

/* Give the request its ID. */
static int
identify(Line *line, PyObject *driver, Response *response)
{
    State *state = line->state;
    PyObject *from_proxy = response->target != NULL ? Py_NewRef(Py_False)
                                                    : PyObject_GetAttr(response->head, state->str_from_proxy);
    PyObject *begun = from_proxy == NULL ? NULL : PyFloat_FromDouble(response->begun);
    PyObject *id = NULL;
    if (begun != NULL) {
        PyObject *args[4] = {driver, response->environ, from_proxy, begun};
        id = PyObject_VectorcallMethod(state->str_identify, args, 4 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    Py_XDECREF(from_proxy);
    Py_XDECREF(begun);
    if (id != NULL && line->shows_ids) {
        response->request_id = Py_NewRef(id);
    }
    Py_XDECREF(id);
    return id == NULL ? -1 : 0;
}

/* Call the application in the response's context. */
static PyObject *
call_application(Line *line, Response *response)
{
    PyObject *args[3] = {NULL, response->environ, (PyObject *)response};
    if (PyContext_Enter(response->variables) < 0) {
        return NULL;
    }
    PyObject *environ = Py_NewRef(response->environ);
    PyObject *result = PyObject_Vectorcall(line->app, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(environ);
    if (PyContext_Exit(response->variables) < 0) {
        Py_CLEAR(result);
    }
    return result;
}

/* Whether the kernel holds bytes that were not received yet: a close would be a reset then, which would destroy the response
 * on its way. */
static int
has_unread(State *state, PyObject *connection)
{
    char byte;
    PyObject *number = get_slot(connection, state->connection_type, state->fd, state->str_fd);
    int fd = number == NULL ? -1 : (int)PyLong_AsLong(number);
    Py_XDECREF(number);
    PyErr_Clear();
    return fd >= 0 && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* The response has been sent as a whole: what is known of it afterwards. */
static PyObject *
finish(Line *line, PyObject *connection, PyObject *driver, Response *response, Py_ssize_t sent)
{
    State *state = line->state;
    PyObject *now = PyObject_CallNoArgs(line->now);
    if (now == NULL) {
        return NULL;
    }
    double seconds = PyFloat_AsDouble(now);
    PyObject *deadline = seconds == -1.0 && PyErr_Occurred() ? NULL : PyFloat_FromDouble(seconds + line->keep_alive);
    if (deadline == NULL || count_response(line, response, sent, seconds - response->begun) < 0 ||
        (line->log != NULL && log_response(line, driver, response, sent) < 0)) {
        goto failed;
    }
    if (PyDict_GET_SIZE(line->partial) != 0) {
        PyObject *args[3] = {line->gateway, Py_None, response->environ};
        PyObject *none =
            PyObject_VectorcallMethod(state->str_flush_errors, args, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        if (none == NULL) {
            goto failed;
        }
        Py_DECREF(none);
    }
    if (response->closes) {
        if (set_slot(connection, state->connection_type, state->closing, state->str_closing,
                     response->is_followed || has_unread(state, connection) ? state->linger : state->close) < 0 ||
            (response->is_followed && set_unparsed(line, driver, NULL, 0) < 0)) {
            goto failed;
        }
    }
    else if (set_slot(connection, state->connection_type, state->deadline, state->str_deadline, deadline) < 0) {
        goto failed;
    }
    else if (response->is_followed) {
        Py_SETREF(now, Py_NewRef(state->more));
    }
    Py_DECREF(deadline);
    return now;
failed:
    Py_XDECREF(deadline);
    Py_DECREF(now);
    return NULL;
}

/* Whether WSGIResponse.send_body() sends a result item by item, without a look at its length: is_own_iterable() of
 * response.py. 1, 0, or -1: an exception. */
static int
is_own_iterable(State *state, PyObject *result)
{
    PyTypeObject *type = Py_TYPE(result);
    if (type->tp_iter == NULL || (PyObject *)type == state->file_wrapper || PyList_Check(result) ||
        PyTuple_Check(result) || PyUnicode_Check(result) || PyBytes_Check(result) ||
        (type->tp_as_sequence != NULL && type->tp_as_sequence->sq_length != NULL) ||
        (type->tp_as_mapping != NULL && type->tp_as_mapping->mp_length != NULL)) {
        return 0;
    }
    PyObject *class = PyObject_GetAttr(result, state->str___class__);
    int is = class == NULL ? -1 : class == (PyObject *)type;
    Py_XDECREF(class);
    return is;
}

/* The next item of an iterator, in the response's context: a new reference. NULL: there is none, or an exception. */
static PyObject *
next_item(Response *response, PyObject *iterator)
{
    if (PyContext_Enter(response->variables) < 0) {
        return NULL;
    }
    PyObject *item = PyIter_Next(iterator);
    if (PyContext_Exit(response->variables) < 0) {
        Py_CLEAR(item);
    }
    return item;
}

/* The iterator of a result, in the response's context. */
static PyObject *
iterator_of(Response *response, PyObject *result)
{
    if (PyContext_Enter(response->variables) < 0) {
        return NULL;
    }
    PyObject *iterator = PyObject_GetIter(result);
    if (PyContext_Exit(response->variables) < 0) {
        Py_CLEAR(iterator);
    }
    return iterator;
}

/* Call close() of a result: WSGIGateway.close_result(). -1: an exception of the server. */
static int
close_result(Line *line, Response *response, PyObject *result)
{
    State *state = line->state;
    if (PyContext_Enter(response->variables) < 0) {
        return -1;
    }
    PyObject *close = PyObject_GetAttr(result, state->str_close), *none = NULL;
    if (close == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        none = Py_NewRef(Py_None);
    }
    else if (close == Py_None) {
        none = Py_NewRef(Py_None);
    }
    else if (close != NULL) {
        none = PyObject_CallNoArgs(close);
    }
    Py_XDECREF(close);
    if (none == NULL) {
        PyObject *error = PyErr_GetRaisedException();
        PyObject *args[4] = {line->gateway, Py_None, response->environ, error};
        none = PyObject_VectorcallMethod(state->str_close_failed, args, 4 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        Py_DECREF(error);
    }
    int failed = none == NULL;
    Py_XDECREF(none);
    return PyContext_Exit(response->variables) < 0 || failed ? -1 : 0;
}

/* The response has been sent: run what a generator does at its end, and close the result. 1: that is done; 0: it is not
 * at its end, the driver goes on, and there is an `outcome`; -1: an exception of the server. */
static int
end_iteration(Line *line, PyObject *driver, Response *response, PyObject *result, PyObject *iterator,
              PyObject **outcome)
{
    response->sent = response->length;
    PyObject *item = next_item(response, iterator);
    if (item != NULL || PyErr_Occurred() || response->wsgi != NULL) {
        *outcome = leave_iterating(line->state, driver, response, result, iterator, item);
        Py_XDECREF(item);
        return 0;
    }
    end_response(response);
    return close_result(line, response, result) < 0 ? -1 : 1;
}

/* Send what the application has returned, if it is ordinary; else the driver goes on with it. Steals `result`. */
static PyObject *
respond(Line *line, PyObject *connection, PyObject *driver, Response *response, PyObject *result)
{
    State *state = line->state;
    /* What is sent are the `items`, or the first `item` of an `iterator`. */
    PyObject *outcome = NULL, *items = NULL, *iterator = NULL, *item = NULL;
    int failed = 0; /* by the server, with an exception, before the result was closed or given to the driver */
    PyObject *retiring = PyObject_GetAttr(line->server, state->str_retiring);
    if (retiring == NULL) {
        Py_DECREF(result);
        return NULL;
    }
    int ordinary = retiring == Py_False;
    Py_DECREF(retiring);
    struct iovec pieces[2 + MOST_PIECES];
    char tail[TAIL_SIZE + sizeof CLOSE_LINE];
    Py_ssize_t content = 0, count = 0, tail_size = 0;
    ordinary = ordinary && response->code != 0 && response->wsgi == NULL;
    int is_list = PyList_CheckExact(result), is_tuple = PyTuple_CheckExact(result);
    if (ordinary && !is_list && !is_tuple) {
        ordinary = response->length > 0 && response->length <= MOST_JOINED ? is_own_iterable(state, result) : 0;
        iterator = ordinary == 1 ? iterator_of(response, result) : NULL;
        item = iterator != NULL ? next_item(response, iterator) : NULL;
        if (PyErr_Occurred()) {
            outcome = leave_with(state, driver, response, Py_NewRef(result));
            goto done;
        }
        ordinary = item != NULL && response->wsgi == NULL;
    }
    if (ordinary) {
        tail_size = put_tail(line, tail); /* first, because it may run Python code, which may change all the rest */
        if (tail_size < 0) {
            failed = 1;
            goto done;
        }
        ordinary = tail_size > 0 && response->code != 0 && response->wsgi == NULL;
    }
    PyObject **source = &item;
    if (iterator != NULL) {
        count = item != NULL;
    }
    else if (ordinary) {
        if (is_tuple) {
            items = Py_NewRef(result);
        }
        else {
#ifdef Py_GIL_DISABLED
            items = PyList_AsTuple(result); /* the application may have kept its list, and may change it now */
            if (items == NULL) {
                goto done;
            }
#else
            items = Py_NewRef(result); /* until it is sent, nothing else runs that could change it */
#endif
        }
        source = PySequence_Fast_ITEMS(items);
        count = PySequence_Fast_GET_SIZE(items);
        ordinary = count <= MOST_PIECES;
    }
    for (Py_ssize_t index = 0; ordinary && index < count; index++) {
        if (!PyBytes_CheckExact(source[index])) {
            ordinary = 0;
            break;
        }
        pieces[2 + index].iov_base = PyBytes_AS_STRING(source[index]);
        pieces[2 + index].iov_len = (size_t)PyBytes_GET_SIZE(source[index]);
        content += PyBytes_GET_SIZE(source[index]);
        ordinary = content <= MOST_JOINED;
    }
    ordinary = ordinary && (response->length < 0 || response->length == content);
    if (!ordinary || (response->request_id != NULL && !put_id(response))) {
        outcome = iterator == NULL ? leave_with(state, driver, response, Py_NewRef(result))
                                   : leave_iterating(state, driver, response, result, iterator, item);
        goto done;
    }
    if (response->closes) { /* before the empty line */
        memcpy(tail + tail_size - 2, CLOSE_LINE "\r\n", sizeof CLOSE_LINE + 1);
        tail_size += sizeof CLOSE_LINE - 1;
    }
    put_length(response, content);
    pieces[0].iov_base = response->out;
    pieces[0].iov_len = response->out_size;
    pieces[1].iov_base = tail;
    pieces[1].iov_len = (size_t)tail_size;
    Py_ssize_t total = (Py_ssize_t)response->out_size + tail_size + content;
    PyObject *number = get_slot(connection, state->connection_type, state->fd, state->str_fd);
    int fd = number == NULL ? -1 : (int)PyLong_AsLong(number);
    Py_XDECREF(number);
    if (fd == -1 && PyErr_Occurred()) {
        failed = 1;
        goto done;
    }
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2 + (size_t)count};
    ssize_t sent = fd < 0 ? -1 : sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && fd >= 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        sent = 0;
    }
    if (sent < 0) { /* the general response finds out again what is wrong */
        outcome = iterator == NULL ? leave_with(state, driver, response, Py_NewRef(result))
                                   : leave_iterating(state, driver, response, result, iterator, item);
    }
    else if (sent != total) {
        PyObject *rest = iterator == NULL ? NULL : partly_iterated(state, result, iterator, NULL);
        response->sent = content;
        failed = iterator != NULL && rest == NULL;
        if (!failed) {
            outcome = leave_sending(state, driver, response, pieces, 2 + (int)count, total, sent, rest);
        }
        Py_XDECREF(rest);
    }
    else {
        int ended = 1;
        if (iterator == NULL) {
            /* It has ended, before anything else runs: another thread that calls write() now is told so. */
            end_response(response);
        }
        else {
            ended = end_iteration(line, driver, response, result, iterator, &outcome);
        }
        if (ended == 1) {
            outcome =
                set_slot(driver, line->driver_type, line->straight_response, state->str_straight_response, Py_None) < 0
                    ? NULL
                    : finish(line, connection, driver, response, content);
        }
    }
done:
    if (failed && iterator != NULL) { /* its close() has to be called */
        outcome = leave_with(state, driver, response, Py_NewRef(result));
    }
    Py_XDECREF(items);
    Py_XDECREF(item);
    Py_XDECREF(iterator);
    Py_DECREF(result);
    return outcome;
}

/* Close wsgi.input after the application: close_content() of bufferedbody.py. */
static int
close_content(State *state, PyObject *content)
{
    PyObject *none = PyObject_CallMethodNoArgs(content, state->str_close);
    if (none == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_BufferError)) {
            return -1;
        }
        PyErr_Clear();
    }
    Py_XDECREF(none);
    return 0;
}

/* Whether the path is not for the application. 1, 0, or -1: an exception. */
static int
has_special_path(Line *line, PyObject *environ, int is_plain)
{
    if (line->paths != NULL && is_plain) { /* no frontend has taken a prefix away */
        PyObject *path = PyDict_GetItemWithError(environ, line->state->str_PATH_INFO);
        return path == NULL ? -1 : PySet_Contains(line->paths, path);
    }
    PyObject *is = PyObject_CallOneArg(line->special, environ);
    if (is == NULL) {
        return -1;
    }
    int outcome = PyObject_IsTrue(is);
    Py_DECREF(is);
    return outcome;
}

/* Serve one request: see StraightLine in reserve/engine/connections/straightline.py. */
static PyObject *
line_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Line *line = (Line *)self;
    State *state = line->state;
    char data[RECEIVE_SIZE + 1];
    char out[HEAD_SIZE];
    if (names != NULL || PyVectorcall_NARGS(nargsf) != 2) {
        PyErr_SetString(PyExc_TypeError, "a straight line takes a connection and the time");
        return NULL;
    }
    PyObject *connection = args[0];
    double begun = PyFloat_AsDouble(args[1]);
    if (begun == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *number = get_slot(connection, state->connection_type, state->fd, state->str_fd);
    if (number == NULL) {
        return NULL;
    }
    int fd = (int)PyLong_AsLong(number);
    Py_DECREF(number);
    if (fd < 0) {
        return PyErr_Occurred() ? NULL : Py_NewRef(state->declined);
    }
    PyObject *driver = get_slot(connection, state->connection_type, state->driver, state->str_driver);
    if (driver == NULL) {
        return NULL;
    }
    ssize_t size = receive(line, driver, fd, data);
    if (size <= 0) { /* the driver finds out why */
        Py_DECREF(driver);
        return size < 0 ? NULL : Py_NewRef(state->declined);
    }
    PyObject *outcome = NULL, *head = NULL;
    Parsed parsed = {NULL, NULL, NULL, 0, 0, 0};
    int ordinary = 0;
    data[size] = '\0';
    /* At least "GET / HTTP/1.1", a Host field and their ends. */
    if (size >= 18 && data[0] > 32) {
        size_t looked_at = (size_t)(size < line->largest ? size : line->largest); /* a head ends within it, or is too large */
        PyObject *parser = get_slot(driver, line->driver_type, line->parse_head, state->str_parse_head);
        if (parser == state->parse_head) {
            PyObject *base = get_slot(driver, line->driver_type, line->base_environ, state->str_base_environ);
            ordinary = base == NULL ? -1 : parse(line, base, data, looked_at, &parsed);
            Py_XDECREF(base);
        }
        else if (parser == NULL) {
            ordinary = -1;
        }
        else {
            ordinary = parse_in_python(line, driver, parser, data, looked_at, &parsed, &head);
        }
        Py_XDECREF(parser);
    }
    if (ordinary == 1 && line->special != NULL) {
        int special = has_special_path(line, parsed.environ, head == NULL);
        if (special != 0) {
            ordinary = special < 0 ? -1 : 0;
        }
    }
    if (ordinary == 1 && parsed.body != 0) {
        ordinary = receive_body(line, driver, fd, data, &size, &parsed);
    }
    int is_followed = ordinary == 1 && size != parsed.head + parsed.body;
    if (is_followed && size == RECEIVE_SIZE) { /* the socket may have more, of which the poller has told already */
        ordinary = 0;
    }
    else if (is_followed) {
        Py_ssize_t whole = parsed.head + parsed.body;
        ordinary = set_unparsed(line, driver, data + whole, size - whole) < 0 ? -1 : 1;
    }
    if (ordinary != 1) {
        Py_XDECREF(parsed.environ);
        Py_XDECREF(parsed.method);
        Py_XDECREF(parsed.target);
        Py_XDECREF(head);
        outcome = ordinary < 0 ? NULL : decline(state, driver, data, (size_t)size);
        Py_DECREF(driver);
        return outcome;
    }
    Response *response = make_response(line, connection, &parsed, head, begun, data);
    if (response == NULL || (line->has_ids && identify(line, driver, response) < 0) ||
        set_slot(driver, line->driver_type, line->straight_response, state->str_straight_response,
                 (PyObject *)response) < 0) {
        Py_XDECREF(response);
        Py_DECREF(driver);
        return NULL;
    }
    response->is_followed = is_followed;
    response->out = out;
    PyObject *result = call_application(line, response);
    outcome = result == NULL ? leave_with(state, driver, response, NULL)
                             : respond(line, connection, driver, response, result);
    if (response->content != NULL && outcome != NULL && close_content(state, response->content) < 0) {
        Py_CLEAR(outcome);
    }
    /* The application may have kept the object, in its environ even. */
    end_response(response);
    PyObject *environ, *content;
    Py_BEGIN_CRITICAL_SECTION(response);
    environ = response->environ;
    head = response->head;
    content = response->content;
    response->environ = response->head = response->content = NULL;
    Py_END_CRITICAL_SECTION();
    Py_DECREF(environ);
    Py_XDECREF(head);
    Py_XDECREF(content);
    Py_DECREF(response);
    Py_DECREF(driver);
    return outcome;
}

/* Take an attribute of a LineSettings: an object (None becomes NULL, if it may be missing), a number, or a bool. -1: an
 * exception. */
static int
take_object(PyObject *settings, const char *name, int may_be_none, PyObject **value)
{
    *value = PyObject_GetAttrString(settings, name);
    if (*value == Py_None && may_be_none) {
        Py_CLEAR(*value);
        return 0;
    }
    return *value == NULL ? -1 : 0;
}

static int
take_size(PyObject *settings, const char *name, Py_ssize_t *value)
{
    PyObject *number = PyObject_GetAttrString(settings, name);
    *value = number == NULL ? -1 : PyLong_AsSsize_t(number);
    Py_XDECREF(number);
    return PyErr_Occurred() ? -1 : 0;
}

static int
take_bool(PyObject *settings, const char *name, int *value)
{
    PyObject *object = PyObject_GetAttrString(settings, name);
    *value = object == NULL ? -1 : PyObject_IsTrue(object);
    Py_XDECREF(object);
    return *value < 0 ? -1 : 0;
}

/* Take all that a LineSettings of straightline.py has. -1: an exception. */
static int
take_settings(Line *line, PyObject *settings)
{
    State *state = line->state;
    PyObject *errors = NULL, *keep_alive = NULL;
    int outcome = -1;
    if (take_object(settings, "context", 0, &line->context) < 0 || take_object(settings, "server", 0, &line->server) < 0 ||
        take_object(settings, "now", 0, &line->now) < 0 || take_object(settings, "tallies", 0, &line->tallies) < 0 ||
        take_object(settings, "gateway", 0, &line->gateway) < 0 || take_object(settings, "app", 0, &line->app) < 0 ||
        take_object(settings, "log", 1, &line->log) < 0 || take_object(settings, "records", 1, &line->records) < 0 ||
        take_object(settings, "special", 1, &line->special) < 0 || take_object(settings, "paths", 1, &line->paths) < 0 ||
        take_object(settings, "server_line", 0, &line->server_line) < 0 ||
        take_object(settings, "errors", 0, &errors) < 0 || take_object(settings, "keep_alive", 0, &keep_alive) < 0 ||
        take_size(settings, "most_records", &line->most_records) < 0 ||
        take_size(settings, "longest", &line->longest) < 0 || take_size(settings, "largest", &line->largest) < 0 ||
        take_size(settings, "most_fields", &line->most_fields) < 0 ||
        take_bool(settings, "refuse_underscores", &line->refuse_underscores) < 0 ||
        take_bool(settings, "streams", &line->streams) < 0 || take_bool(settings, "has_ids", &line->has_ids) < 0 ||
        take_bool(settings, "shows_ids", &line->shows_ids) < 0) {
        goto done;
    }
    line->keep_alive = PyFloat_AsDouble(keep_alive);
    line->partial = PyObject_GetAttr(errors, state->str_partial);
    if (PyErr_Occurred()) {
        goto done;
    }
    if (!PyDict_Check(line->partial) || !PyDict_Check(line->tallies) || !PyBytes_Check(line->server_line)) {
        PyErr_SetString(PyExc_TypeError, "the incomplete lines of wsgi.errors and the tallies are kept in dicts, and the "
                                         "Server line is bytes");
        goto done;
    }
    if (line->largest > LARGEST_HEAD) {
        line->largest = LARGEST_HEAD;
    }
    if (line->records != NULL) {
        line->append = PyObject_GetAttrString(line->records, "append");
    }
    outcome = line->records != NULL && line->append == NULL ? -1 : 0;
done:
    Py_XDECREF(errors);
    Py_XDECREF(keep_alive);
    return outcome;
}

static PyObject *
line_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"", NULL};
    PyObject *settings;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O:StraightLine", names, &settings)) {
        return NULL;
    }
    State *state = PyType_GetModuleState(type);
    Line *line = state == NULL ? NULL : (Line *)type->tp_alloc(type, 0); /* all NULL and 0 */
    if (line == NULL) {
        return NULL;
    }
    line->vectorcall = line_call;
    line->state = state;
    line->driver_type = import("reserve.apps.http.straightdriver", "HTTPStraightDriver");
    if (line->driver_type == NULL || take_settings(line, settings) < 0) {
        Py_DECREF(line);
        return NULL;
    }
    line->base_environ = find_slot(line->driver_type, state->str_base_environ);
    line->parse_head = find_slot(line->driver_type, state->str_parse_head);
    line->straight_response = find_slot(line->driver_type, state->str_straight_response);
    line->unparsed = find_slot(line->driver_type, state->str_unparsed);
    return (PyObject *)line;
}

static PyMemberDef line_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Line, vectorcall), READONLY, NULL},
    {NULL},
};

static PyType_Slot line_slots[] = {
    {Py_tp_doc, "The straight line of one application: see reserve.apps.http.straightline."},
    {Py_tp_new, line_new},
    {Py_tp_traverse, line_traverse},
    {Py_tp_clear, line_clear},
    {Py_tp_dealloc, line_dealloc},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_members, line_members},
    {0, NULL},
};

static PyType_Spec line_spec = {
    .name = "reserve.apps.http._straightline.StraightLine",
    .basicsize = sizeof(Line),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = line_slots,
};

/* ---- the module ---- */

/* Fill the table of field names from fields.py: every name that is common, and what it is called in the environ. */
static int
fill_names(State *state)
{
    static const char *const unusual[] = {"transfer-encoding", "expect", "upgrade", "proxy"};
    PyObject *common = import("reserve.protocol.http1.fields", "COMMON");
    PyObject *key_of = import("reserve.protocol.http1.fields", "environ_key");
    int outcome = -1;
    Py_ssize_t count = common == NULL ? -1 : PyTuple_Check(common) ? PyTuple_GET_SIZE(common) : -1;
    if (count < 0 || key_of == NULL || count > NAMES / 4) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_SystemError, "the table of field names does not fit");
        }
        goto done;
    }
    for (Py_ssize_t index = 0; index < 2 * count; index++) {
        PyObject *name = PyTuple_GET_ITEM(common, index / 2);
        Py_ssize_t size;
        const char *text = PyUnicode_AsUTF8AndSize(name, &size);
        PyObject *key = text == NULL || size > LONGEST_NAME ? NULL : PyObject_CallOneArg(key_of, name);
        if (key == NULL || !PyUnicode_CheckExact(key)) {
            Py_XDECREF(key);
            goto done;
        }
        char small[LONGEST_NAME];
        for (Py_ssize_t at = 0; at < size; at++) {
            small[at] = (char)lower((unsigned char)text[at]);
        }
        const char *spelling = index % 2 ? small : text;
        if (find_name(state, spelling, (size_t)size) != NULL) {
            Py_DECREF(key);
            continue;
        }
        PyUnicode_InternInPlace(&key);
        unsigned int slot = hash_name(spelling, (size_t)size);
        while (state->names[slot & (NAMES - 1)].key != NULL) {
            slot++;
        }
        Name *entry = &state->names[slot & (NAMES - 1)];
        entry->key = key;
        entry->size = (unsigned char)size;
        entry->kind = ORDINARY;
        memcpy(entry->name, spelling, (size_t)size);
        for (size_t other = 0; other < sizeof unusual / sizeof *unusual; other++) {
            if (strlen(unusual[other]) == (size_t)size && memcmp(unusual[other], small, (size_t)size) == 0) {
                entry->kind = UNUSUAL;
            }
        }
        if (size == 4 && memcmp(small, "host", 4) == 0) {
            entry->kind = HOST;
        }
        if (size == 10 && memcmp(small, "connection", 10) == 0) {
            entry->kind = CONNECTION;
        }
        if (size == 14 && memcmp(small, "content-length", 14) == 0) {
            entry->kind = LENGTH;
        }
    }
    outcome = 0;
    for (size_t other = 0; other < sizeof unusual / sizeof *unusual; other++) {
        Name *entry = find_name(state, unusual[other], strlen(unusual[other]));
        if (entry == NULL || entry->kind != UNUSUAL) {
            PyErr_SetString(PyExc_SystemError, "a field name is missing in the table");
            outcome = -1;
        }
    }
    if (outcome == 0 && (find_name(state, "host", 4) == NULL || find_name(state, "connection", 10) == NULL ||
                         find_name(state, "content-length", 14) == NULL)) {
        PyErr_SetString(PyExc_SystemError, "a field name is missing in the table");
        outcome = -1;
    }
done:
    Py_XDECREF(common);
    Py_XDECREF(key_of);
    return outcome;
}

/* Copy the bounds of the histograms. */
static int
fill_bounds(State *state)
{
    PyObject *bounds = import("reserve.engine.metrics.requests", "BOUNDS");
    int outcome = -1;
    if (bounds != NULL && PyTuple_Check(bounds) && PyTuple_GET_SIZE(bounds) == BOUNDS) {
        outcome = 0;
        for (Py_ssize_t part = 0; part < BOUNDS; part++) {
            state->bounds[part] = PyFloat_AsDouble(PyTuple_GET_ITEM(bounds, part));
        }
    }
    Py_XDECREF(bounds);
    if (outcome < 0 && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_SystemError, "the histograms have other bounds than this module was made for");
    }
    return PyErr_Occurred() ? -1 : outcome;
}

static int
module_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
#define X(name) \
    if ((state->str_##name = PyUnicode_InternFromString(#name)) == NULL) { \
        return -1; \
    }
    STRINGS(X)
#undef X
    for (size_t index = 0; index < 6; index++) {
        if ((state->methods[index] = PyUnicode_InternFromString(method_names[index])) == NULL) {
            return -1;
        }
    }
    if ((state->wsgi_input = PyUnicode_InternFromString("wsgi.input")) == NULL ||
        (state->http11 = PyUnicode_InternFromString("HTTP/1.1")) == NULL ||
        (state->upgrade_key = PyUnicode_InternFromString("HTTP_UPGRADE")) == NULL ||
        (state->empty = PyUnicode_InternFromString("")) == NULL ||
        (state->new_head = import("reserve.protocol.codec", "Head")) == NULL ||
        (state->bytes_io = import("io", "BytesIO")) == NULL ||
        (state->hosts = import("reserve.protocol.http1.host", "CACHED_HOSTS")) == NULL ||
        (state->parse_head = import("reserve.protocol.http1.head", "parse_head")) == NULL ||
        (state->remote_error = import("reserve.errors", "RemoteError")) == NULL ||
        (state->ended = import("reserve.gateways.response", "ended")) == NULL ||
        (state->file_wrapper = import("reserve.gateways.streams", "FileWrapper")) == NULL ||
        (state->partly_iterated = import("reserve.gateways.response", "PartlyIterated")) == NULL ||
        (state->end_item = import("reserve.gateways.response", "END")) == NULL ||
        (state->declined = import("reserve.engine.connections.straightline", "DECLINED")) == NULL ||
        (state->more = import("reserve.engine.connections.straightline", "MORE")) == NULL ||
        (state->close = import("reserve.engine.connections.driver", "CLOSE")) == NULL ||
        (state->linger = import("reserve.engine.connections.driver", "LINGER")) == NULL ||
        (state->connection_type = import("reserve.engine.connections.connection", "Connection")) == NULL ||
        (state->no_args = PyTuple_New(0)) == NULL || fill_bounds(state) < 0) {
        return -1;
    }
    state->fd = find_slot(state->connection_type, state->str_fd);
    state->driver = find_slot(state->connection_type, state->str_driver);
    state->deadline = find_slot(state->connection_type, state->str_deadline);
    state->closing = find_slot(state->connection_type, state->str_closing);
    fill_classes(state->classes);
    if (fill_names(state) < 0) {
        return -1;
    }
    PyObject *type = PyType_FromModuleAndSpec(module, &line_spec, NULL);
    if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0) {
        Py_XDECREF(type);
        return -1;
    }
    state->line_type = (PyTypeObject *)type;
    type = PyType_FromModuleAndSpec(module, &response_spec, NULL);
    if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0) {
        Py_XDECREF(type);
        return -1;
    }
    state->response_type = (PyTypeObject *)type;
    type = PyType_FromModuleAndSpec(module, &tally_spec, NULL);
    if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0) {
        Py_XDECREF(type);
        return -1;
    }
    state->tally_type = (PyTypeObject *)type;
    return 0;
}

#define FOR_EACH_OBJECT(DO) \
    DO(state->line_type); DO(state->response_type); DO(state->tally_type); DO(state->new_head); DO(state->bytes_io); \
    DO(state->hosts); DO(state->parse_head); DO(state->remote_error); DO(state->ended); DO(state->file_wrapper); \
    DO(state->partly_iterated); DO(state->end_item); DO(state->declined); DO(state->more); DO(state->close); DO(state->linger); \
    DO(state->connection_type); DO(state->no_args); DO(state->wsgi_input); DO(state->http11); \
    DO(state->upgrade_key); DO(state->empty);

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    FOR_EACH_OBJECT(Py_VISIT)
    return 0;
}

static int
module_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    FOR_EACH_OBJECT(Py_CLEAR)
    for (size_t index = 0; index < 6; index++) {
        Py_CLEAR(state->methods[index]);
    }
    for (size_t index = 0; index < NAMES; index++) {
        Py_CLEAR(state->names[index].key);
    }
#define X(name) Py_CLEAR(state->str_##name);
    STRINGS(X)
#undef X
    return 0;
}

static void
module_free(void *module)
{
    module_clear((PyObject *)module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "reserve.apps.http._straightline",
    .m_doc = "The straight line of HTTP in C: see reserve.apps.http.straightline.",
    .m_size = sizeof(State),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__straightline(void)
{
    return PyModuleDef_Init(&module_definition);
}
