/* The lock on which a thread of the engine sleeps, in C: see waiter.py.
 *
 * threading.Lock.release() keeps the GIL. The thread that it wakes needs the GIL first of all, finds that the thread
 * that has woken it has it, and sleeps again: three switches of threads where one would do. Lock.release() gives the GIL
 * up before it wakes anybody. In everything else it is a threading.Lock, made of the same system calls.
 *
 * Threads: any thread calls any method. `locked` is read and written with the GIL; where there is none, release() takes
 * the lock of the object for that. Between the moment in which release() clears it and the one in which the lock is
 * free, a second release() is an error already, and acquire() waits.
 *
 * Memory: neither acquire() without arguments nor release() needs any, unless it fails.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pythread.h>

#include <math.h>
#include <time.h>

#ifndef Py_BEGIN_CRITICAL_SECTION /* before 3.13 there is always a GIL */
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock;
    char locked;
} Lock;

static double
monotonic(void)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static PyObject *
lock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Lock", names)) {
        return NULL;
    }
    Lock *self = (Lock *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->lock = PyThread_allocate_lock();
    if (self->lock == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void
lock_dealloc(Lock *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->lock != NULL) {
        if (self->locked) { /* the system may not free a lock that is held */
            PyThread_release_lock(self->lock);
        }
        PyThread_free_lock(self->lock);
    }
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

PyDoc_STRVAR(acquire_doc,
"acquire(blocking=True, timeout=-1.0)\n--\n\n"
"Take the lock. False: it was not free, or not within ``timeout`` seconds; -1: wait for as long as it takes.\n\n"
"A signal handler that raises ends the wait, on the main thread.");

static PyObject *
lock_acquire(Lock *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"blocking", "timeout", NULL};
    int blocking = 1;
    double timeout = -1.0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|pd:acquire", names, &blocking, &timeout)) {
        return NULL;
    }
    if (!blocking && timeout != -1.0) {
        PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
        return NULL;
    }
    if (isnan(timeout) || (timeout < 0.0 && timeout != -1.0)) {
        PyErr_SetString(PyExc_ValueError, "timeout value must be a non-negative number");
        return NULL;
    }
    if (timeout * 1e6 >= (double)PY_TIMEOUT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
        return NULL;
    }
    /* A lock that is free is taken without giving up the GIL. */
    PyLockStatus status = PyThread_acquire_lock_timed(self->lock, 0, 0);
    if (status != PY_LOCK_ACQUIRED && blocking && timeout != 0.0) {
        double end = timeout < 0.0 ? 0.0 : monotonic() + timeout, left = timeout;
        while (1) {
            Py_BEGIN_ALLOW_THREADS
            status = PyThread_acquire_lock_timed(self->lock, left < 0.0 ? -1 : (PY_TIMEOUT_T)ceil(left * 1e6), 1);
            Py_END_ALLOW_THREADS
            if (status != PY_LOCK_INTR) {
                break;
            }
            if (PyErr_CheckSignals() < 0) {
                return NULL;
            }
            if (timeout >= 0.0) {
                left = end - monotonic();
                if (left <= 0.0) {
                    status = PY_LOCK_FAILURE;
                    break;
                }
            }
        }
    }
    if (status != PY_LOCK_ACQUIRED) {
        Py_RETURN_FALSE;
    }
    Py_BEGIN_CRITICAL_SECTION(self);
    self->locked = 1;
    Py_END_CRITICAL_SECTION();
    Py_RETURN_TRUE;
}

PyDoc_STRVAR(release_doc,
"release()\n--\n\n"
"Free the lock without the GIL, and wake the thread that waits for it. Any thread. RuntimeError: it was not held.");

static PyObject *
lock_release(Lock *self, PyObject *Py_UNUSED(ignored))
{
    char locked;
    Py_BEGIN_CRITICAL_SECTION(self);
    locked = self->locked;
    self->locked = 0;
    Py_END_CRITICAL_SECTION();
    if (!locked) {
        PyErr_SetString(PyExc_RuntimeError, "release unlocked lock");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    PyThread_release_lock(self->lock);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))lock_acquire, METH_VARARGS | METH_KEYWORDS, acquire_doc},
    {"release", (PyCFunction)lock_release, METH_NOARGS, release_doc},
    {NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "A lock that is released without the GIL."},
    {Py_tp_new, lock_new},
    {Py_tp_dealloc, lock_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec type_spec = {
    .name = "reserve.engine.polling._lock.Lock",
    .basicsize = sizeof(Lock),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = type_slots,
};

static int
fill_module(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &type_spec, NULL);
    if (type == NULL) {
        return -1;
    }
    int failed = PyModule_AddObjectRef(module, "Lock", type);
    Py_DECREF(type);
    return failed;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, fill_module},
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
    .m_name = "reserve.engine.polling._lock",
    .m_doc = "The lock of reserve.engine.polling.waiter in C.",
    .m_size = 0,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__lock(void)
{
    return PyModuleDef_Init(&definition);
}
