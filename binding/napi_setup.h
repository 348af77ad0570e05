#pragma once
// The one include of node-addon-api.
#define NAPI_CPP_EXCEPTIONS
#define NODE_API_NO_EXTERNAL_BUFFERS_ALLOWED
#include <napi.h>
