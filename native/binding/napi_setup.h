// The only place that includes napi.h, so that its configuration cannot drift between files.
#pragma once

// A worker thread may be terminated while a callback runs: what can then no longer be thrown into
// JavaScript must not end the process.
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#include <napi.h>

#ifndef NAPI_CPP_EXCEPTIONS
#error "the binding is written for NAPI_CPP_EXCEPTIONS"
#endif
