// Included by c10d under this name; the declarations are in one place.
#pragma once
#include <gloo/rendezvous/store.h>
