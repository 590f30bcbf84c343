/* The straight line in C for the fuzzer: the functions that read a request head and make a response head, without sockets.
 *
 * straightline.py, beside this, builds it in two ways: as the module _straightline with the functions parse() and begin(),
 * and with RESERVE_LIBFUZZER as a program of libFuzzer that contains an interpreter. Each buffer is on the heap and as
 * large as what it is for, so that AddressSanitizer sees each byte that is read behind it.
 */

#ifndef STRAIGHT_LINE /* a test names a copy with a fault */
#define STRAIGHT_LINE "../../reserve/apps/http/_straightline.c"
#endif
#include STRAIGHT_LINE

/* parse(base, received, most_fields): (environ, method, target, bytes of the head, bytes of the body, whether the
 * connection closes), or None: it is not ordinary */
static PyObject *
fuzz_parse(PyObject *module, PyObject *args)
{
    PyObject *base;
    const char *block;
    Py_ssize_t size, most_fields;
    if (!PyArg_ParseTuple(args, "O!y#n", &PyDict_Type, &base, &block, &size, &most_fields)) {
        return NULL;
    }
    /* as in line_call() */
    if (size < 18 || size > RECEIVE_SIZE || block[0] <= 32) {
        Py_RETURN_NONE;
    }
    char *data = malloc((size_t)size + 1);
    if (data == NULL) {
        return PyErr_NoMemory();
    }
    memcpy(data, block, (size_t)size);
    data[size] = '\0';
    Line line = {.state = PyModule_GetState(module), .most_fields = most_fields};
    Parsed parsed = {NULL, NULL, NULL, 0, 0, 0};
    int outcome = parse(&line, base, data, (size_t)(size < LARGEST_HEAD ? size : LARGEST_HEAD), &parsed);
    free(data);
    if (outcome < 0) {
        return NULL;
    }
    if (outcome == 0) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(NNNnni)", parsed.environ, parsed.method, parsed.target, parsed.head, parsed.body,
                         parsed.closes);
}

/* begin(status, fields, content): (head, code, length), or None: it is not ordinary */
static PyObject *
fuzz_begin(PyObject *module, PyObject *args)
{
    PyObject *status, *fields;
    Py_ssize_t content;
    if (!PyArg_ParseTuple(args, "OO!n", &status, &PyList_Type, &fields, &content)) {
        return NULL;
    }
    Response response = {.state = PyModule_GetState(module), .out = malloc(HEAD_SIZE)};
    if (response.out == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *result = Py_NewRef(Py_None);
    if (response_begin(&response, status, fields)) {
        put_length(&response, response.length < 0 ? content : response.length);
        Py_SETREF(result, Py_BuildValue("(y#in)", response.out, (Py_ssize_t)response.out_size, response.code,
                                        response.length));
    }
    free(response.out);
    return result;
}

static PyMethodDef fuzz_methods[] = {
    {"parse", fuzz_parse, METH_VARARGS, NULL},
    {"begin", fuzz_begin, METH_VARARGS, NULL},
    {NULL},
};

PyMODINIT_FUNC
PyInit__fuzzedline(void)
{
    module_definition.m_methods = fuzz_methods;
    return PyModuleDef_Init(&module_definition);
}

#ifdef RESERVE_LIBFUZZER

static PyObject *check;

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    PyImport_AppendInittab("_fuzzedline", PyInit__fuzzedline);
    Py_InitializeEx(0);
    check = import("tests.fuzz.straightline", "check");
    if (check == NULL) {
        PyErr_Print();
        abort();
    }
    return 0;
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    PyObject *none = PyObject_CallFunction(check, "y#", (const char *)data, (Py_ssize_t)size);
    if (none == NULL) {
        PyErr_Print();
        abort();
    }
    Py_DECREF(none);
    return 0;
}

#endif
