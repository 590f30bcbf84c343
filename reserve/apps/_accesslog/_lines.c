/* The lines of the combined format in C, for the usual records: see _combined() in formats.py, which makes all others.
 *
 * usual_lines(records, second, middle) returns the lines of all records, or None if it cannot make one of them: a record
 * of another second, a malformed request line, a character that has to be escaped, a status that HTTP does not have. So
 * no rule about escaping stands here a second time. The log's thread calls it; nothing is kept between two calls.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#define ROOM 192 /* bytes of a line beside its texts */

#define EACH(byte) (0x0101010101010101u * (byte))

/* Not 0 if one of eight bytes is 0. */
static inline unsigned long long
zero_in(unsigned long long eight)
{
    return (eight - EACH(0x01)) & ~eight & EACH(0x80);
}

/* The bytes of a text of which no character is escaped; NULL: it is another text. */
static const unsigned char *
safe_text(PyObject *text, Py_ssize_t *size)
{
    if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_COMPACT_ASCII(text)) {
        return NULL;
    }
    const unsigned char *bytes = PyUnicode_1BYTE_DATA(text);
    *size = PyUnicode_GET_LENGTH(text);
    Py_ssize_t at = 0;
    for (; *size - at >= 8; at += 8) { /* eight at a time, up to the first ones of which one may be escaped */
        unsigned long long eight;
        memcpy(&eight, bytes + at, 8);
        if ((((eight - EACH(0x20)) & ~eight & EACH(0x80)) | zero_in(eight ^ EACH(0x7f)) | zero_in(eight ^ EACH('"')) |
             zero_in(eight ^ EACH('\\'))) != 0) {
            break;
        }
    }
    for (; at < *size; at++) {
        if (bytes[at] < 0x20 || bytes[at] == 0x7f || bytes[at] == '"' || bytes[at] == '\\') {
            return NULL;
        }
    }
    return bytes;
}

/* A number in decimal; returns the place after it. */
static char *
put_number(char *out, long long number)
{
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    memcpy(out, digits + at, sizeof digits - at);
    return out + (sizeof digits - at);
}

static inline char *
put(char *out, const void *data, Py_ssize_t size)
{
    memcpy(out, data, (size_t)size);
    return out + size;
}

/* A text, or a hyphen for an empty one. */
static inline char *
put_text(char *out, const unsigned char *text, Py_ssize_t size)
{
    if (size == 0) {
        *out = '-';
        return out + 1;
    }
    return put(out, text, size);
}

/* One line; NULL: it is not usual. The buffer has room for it: `*room` bytes, else it is enlarged. */
static char *
put_line(PyObject *record, double second, const char *middle, Py_ssize_t middle_size, char **buffer, char *out,
         Py_ssize_t *room)
{
    if (!PyTuple_CheckExact(record) || PyTuple_GET_SIZE(record) != 9) {
        return NULL;
    }
    PyObject *time = PyTuple_GET_ITEM(record, 0), *status = PyTuple_GET_ITEM(record, 5),
             *count = PyTuple_GET_ITEM(record, 6);
    if (!PyFloat_CheckExact(time) || !PyLong_CheckExact(status) || !PyLong_CheckExact(count)) {
        return NULL;
    }
    double moment = PyFloat_AS_DOUBLE(time);
    long code = PyLong_AsLong(status);
    long long sent = PyLong_AsLongLong(count);
    if (PyErr_Occurred()) { /* more than fits */
        PyErr_Clear();
        return NULL;
    }
    if (!(moment >= second && moment < second + 1) || code < 100 || code > 999 || sent < 0) {
        return NULL;
    }
    static const int places[6] = {1, 2, 3, 4, 7, 8}; /* host, method, target, version, referer, user agent */
    const unsigned char *text[6];
    Py_ssize_t size[6], total = ROOM + middle_size;
    for (int index = 0; index < 6; index++) {
        text[index] = safe_text(PyTuple_GET_ITEM(record, places[index]), &size[index]);
        if (text[index] == NULL) {
            return NULL;
        }
        total += size[index];
    }
    if (size[1] == 0) {
        return NULL;
    }
    Py_ssize_t used = out - *buffer;
    if (total > *room - used) {
        Py_ssize_t wanted = 2 * (used + total);
        char *larger = PyMem_Realloc(*buffer, (size_t)wanted);
        if (larger == NULL) {
            return NULL; /* the slower way says that there is no memory */
        }
        *buffer = larger;
        *room = wanted;
        out = larger + used;
    }
    out = put_text(out, text[0], size[0]);
    out = put(out, middle, middle_size);
    out = put(out, text[1], size[1]);
    *out++ = ' ';
    out = put(out, text[2], size[2]);
    *out++ = ' ';
    out = put(out, text[3], size[3]);
    out = put(out, "\" ", 2);
    out = put_number(out, code);
    *out++ = ' ';
    out = sent == 0 ? put(out, "-", 1) : put_number(out, sent);
    out = put(out, " \"", 2);
    out = put_text(out, text[4], size[4]);
    out = put(out, "\" \"", 3);
    out = put_text(out, text[5], size[5]);
    return put(out, "\"\n", 2);
}

PyDoc_STRVAR(usual_lines_doc, "usual_lines(records, second, middle, /)\n--\n\n"
"The lines of records of the access log in the combined format, or None: see the comment at the top of this file.\n\n"
":param records: a list of plain tuples.\n"
":param second: of all records.\n"
":param middle: what stands between client and method.");

static PyObject *
usual_lines(PyObject *module, PyObject *args)
{
    PyObject *records;
    double second;
    const char *middle;
    Py_ssize_t middle_size;
    if (!PyArg_ParseTuple(args, "O!dy#:usual_lines", &PyList_Type, &records, &second, &middle, &middle_size)) {
        return NULL;
    }
    Py_ssize_t count = PyList_GET_SIZE(records), room = 256 * (count + 1);
    char *buffer = PyMem_Malloc((size_t)room), *out = buffer;
    if (buffer == NULL) {
        return PyErr_NoMemory();
    }
    for (Py_ssize_t index = 0; index < count; index++) {
        out = put_line(PyList_GET_ITEM(records, index), second, middle, middle_size, &buffer, out, &room);
        if (out == NULL) {
            PyMem_Free(buffer);
            Py_RETURN_NONE;
        }
    }
    PyObject *lines = PyBytes_FromStringAndSize(buffer, out - buffer);
    PyMem_Free(buffer);
    return lines;
}

static PyMethodDef methods[] = {
    {"usual_lines", usual_lines, METH_VARARGS, usual_lines_doc},
    {NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "reserve.apps._accesslog._lines",
    .m_doc = "The lines of the access log in C: see reserve.apps._accesslog.formats.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__lines(void)
{
    return PyModuleDef_Init(&definition);
}
