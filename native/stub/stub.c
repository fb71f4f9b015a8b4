// grpo.node: the only file that Node loads. It knows nothing of torch, so it loads on every machine
// and can say in a JavaScript error what is missing. load({ libraries, core }) opens libtorch by
// absolute path, then the core built for that libtorch, then lets the core fill an exports object
// for this environment (the main thread or a worker).
#include <dlfcn.h>
#include <node_api.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef napi_value (*CoreInit)(napi_env env, napi_value exports);

// One per environment: the exports that the core filled, so that a second load() returns the same
// object.
typedef struct {
    napi_ref exports;
} Environment;

// The process has one core: two would be two libtorch runtimes. Guarded by the mutex; workers load
// at the same time.
static pthread_mutex_t core_mutex = PTHREAD_MUTEX_INITIALIZER;
static char* core_path = NULL;
static CoreInit core_init = NULL;

// Returns NULL so that callers can `return fail(...)`.
static napi_value fail(napi_env env, const char* code, const char* message) {
    bool pending = false;
    napi_is_exception_pending(env, &pending);
    if (!pending) napi_throw_error(env, code, message);
    return NULL;
}

// A malloc'ed copy of object[key], or NULL with a JavaScript error pending.
static char* get_string(napi_env env, napi_value object, const char* key) {
    napi_value value;
    size_t length = 0;
    char* text = NULL;
    if (napi_get_named_property(env, object, key, &value) == napi_ok &&
        napi_get_value_string_utf8(env, value, NULL, 0, &length) == napi_ok &&
        (text = malloc(length + 1)) != NULL) {
        napi_get_value_string_utf8(env, value, text, length + 1, NULL);
        return text;
    }
    char message[128];
    snprintf(message, sizeof message, "load: expected a string in \"%s\"", key);
    fail(env, "ERR_INVALID_ARGUMENT", message);
    return NULL;
}

// object[key] where it is there; false leaves a JavaScript error pending or means another type.
static bool get_optional_bool(napi_env env, napi_value object, const char* key, bool* result) {
    napi_value value;
    napi_valuetype type;
    *result = false;
    if (napi_get_named_property(env, object, key, &value) != napi_ok ||
        napi_typeof(env, value, &type) != napi_ok)
        return false;
    return type == napi_undefined || napi_get_value_bool(env, value, result) == napi_ok;
}

// Like Python's torch: everything is opened with RTLD_LOCAL except the library that only exists to
// make libtorch's own dependencies (OpenMP, CUDA) global.
static void* open_library(napi_env env, const char* path, bool global, bool optional) {
    void* handle = dlopen(path, RTLD_NOW | (global ? RTLD_GLOBAL : RTLD_LOCAL));
    if (!handle && !optional) {
        const char* reason = dlerror();
        fail(env, "ERR_DLOPEN", reason ? reason : path);
    }
    return handle;
}

static bool open_libraries(napi_env env, napi_value paths) {
    napi_value libraries;
    uint32_t count = 0;
    if (napi_get_named_property(env, paths, "libraries", &libraries) != napi_ok ||
        napi_get_array_length(env, libraries, &count) != napi_ok) {
        fail(env, "ERR_INVALID_ARGUMENT", "load: expected an array in \"libraries\"");
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        napi_value library, global_value;
        bool global = false, optional = false;
        if (napi_get_element(env, libraries, i, &library) != napi_ok ||
            napi_get_named_property(env, library, "global", &global_value) != napi_ok ||
            napi_get_value_bool(env, global_value, &global) != napi_ok ||
            !get_optional_bool(env, library, "optional", &optional)) {
            fail(env, "ERR_INVALID_ARGUMENT",
                 "load: expected { path, global, optional } in \"libraries\"");
            return false;
        }
        char* path = get_string(env, library, "path");
        bool opened = path && (open_library(env, path, global, optional) || optional);
        free(path);
        if (!opened) return false;
    }
    return true;
}

// libtorch's workers by default spin for milliseconds at the end of every parallel loop. Where
// anything else wants a core, they then keep it from the thread that they wait for: decoding was
// seen to be ten times slower. A thousand turns, some microseconds, then sleep. The user's own
// settings win.
static void tame_spinning(void) {
    if (!getenv("OMP_WAIT_POLICY")) setenv("GOMP_SPINCOUNT", "1000", 0);
}

// Under which cuBLAS gives the same sums every time; read when it is first used. The user's own
// setting wins.
static void let_cublas_repeat(void) { setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0); }

// Opens the core on the first call of the process; later calls must name the same file. Takes
// `path` over.
static bool open_core(napi_env env, char* path, napi_value paths) {
    if (core_init) {
        bool same = strcmp(core_path, path) == 0;
        if (!same) fail(env, "ERR_OTHER_CORE", core_path);
        free(path);
        return same;
    }
    tame_spinning();
    let_cublas_repeat();
    void* handle = open_libraries(env, paths) ? open_library(env, path, false, false) : NULL;
    if (!handle) {
        free(path);
        return false;
    }
    CoreInit init = NULL;
    *(void**)&init = dlsym(handle, "grpo_core_init");  // the POSIX way to turn data into code
    if (!init) {
        fail(env, "ERR_DLOPEN", "the core does not export grpo_core_init");
        free(path);
        return false;
    }
    core_init = init;
    core_path = path;
    return true;
}

static napi_value load(napi_env env, napi_callback_info info) {
    size_t argc = 1;
    napi_value paths, exports;
    Environment* environment;
    if (napi_get_cb_info(env, info, &argc, &paths, NULL, (void**)&environment) != napi_ok)
        return NULL;
    napi_valuetype type = napi_undefined;
    if (argc == 1) napi_typeof(env, paths, &type);
    if (type != napi_object)
        return fail(env, "ERR_INVALID_ARGUMENT", "load: expected { libraries, core }");

    char* path = get_string(env, paths, "core");
    if (!path) return NULL;
    pthread_mutex_lock(&core_mutex);
    bool opened = open_core(env, path, paths);
    pthread_mutex_unlock(&core_mutex);
    if (!opened) return NULL;

    if (environment->exports) {
        napi_get_reference_value(env, environment->exports, &exports);
        return exports;
    }
    bool pending = false;
    if (napi_create_object(env, &exports) != napi_ok) return NULL;
    napi_value filled = core_init(env, exports);
    napi_is_exception_pending(env, &pending);
    if (pending || !filled) return fail(env, "ERR_CORE_INIT", "the core could not be initialised");
    napi_create_reference(env, filled, 1, &environment->exports);
    return filled;
}

static void free_environment(void* environment) { free(environment); }

NAPI_MODULE_INIT() {
    napi_value function;
    Environment* environment = calloc(1, sizeof *environment);
    if (!environment) return fail(env, "ERR_MEMORY", "out of memory");
    napi_add_env_cleanup_hook(env, free_environment, environment);
    napi_create_function(env, "load", NAPI_AUTO_LENGTH, load, environment, &function);
    napi_set_named_property(env, exports, "load", function);
    return exports;
}
