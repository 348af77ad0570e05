// The same as napi.cc through nan, which is bound to one version of V8.
#include <nan.h>

static NAN_METHOD(answer) {
  const auto o = Nan::New<v8::Object>();
  Nan::Set(o, Nan::New("isa").ToLocalChecked(), Nan::New("avx512").ToLocalChecked());
  Nan::Set(o, Nan::New("bf16").ToLocalChecked(), Nan::New(true));
  Nan::Set(o, Nan::New("threads").ToLocalChecked(), Nan::New(2));
  Nan::Set(o, Nan::New("cuda").ToLocalChecked(), Nan::New(0));
  info.GetReturnValue().Set(o);
}

static NAN_MODULE_INIT(initialize) { Nan::SetMethod(target, "answer", answer); }

NODE_MODULE(probe, initialize)
