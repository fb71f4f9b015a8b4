// The only place that includes napi.h, so that its configuration cannot drift between files.
#pragma once

#include <napi.h>

#ifndef NAPI_CPP_EXCEPTIONS
#error "the binding is written for NAPI_CPP_EXCEPTIONS"
#endif
