/* sluice.h - the C API of the sluice inference engine. C99 and C++; link with -lsluice.
 *
 *   sluice_error error;
 *   sluice_model* model = NULL;
 *   if (sluice_model_open("model.gguf", NULL, &model, &error) != SLUICE_OK) puts(error.message);
 *
 * examples/generate.c is a whole program.
 *
 * The library exports one symbol, sluice_get_api(), which returns a table of functions. What is below the table are
 * inline wrappers with the same arguments. A program that loads the library with dlopen() defines SLUICE_NO_WRAPPERS
 * and calls through the table.
 *
 * Rules for all functions:
 * - Results. A function that can fail returns a sluice_result and takes a last argument `error`, which may be NULL.
 * When it fails, error->message has a full sentence for a person. On success the error is left with SLUICE_OK and an
 * empty message. Nothing is kept in globals, nothing is printed, and nothing ends the process.
 * - Ownership. What an open or create function hands out belongs to the caller until the matching close or free, which
 * accept NULL. A session keeps its model's memory alive, so the model may be closed before its sessions. Arguments are
 * read during the call only. Strings are NUL-terminated UTF-8 except where a length in bytes is given.
 * - Threads. Functions on a model are safe from any thread. A session and a sampler belong to one thread at a time,
 * save for sluice_session_cancel() and sluice_session_resume(), which are safe from any thread. Sessions of one model
 * may be evaluated from several threads: they take turns.
 * - Options and descriptions begin with struct_size, the caller's sizeof. Start from the sluice_default_...()
 * functions, so that a program built today runs with a later library. A field that a library does not know must be zero
 * there.
 */
#ifndef SLUICE_H
#define SLUICE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the table below. It changes only when an existing entry changes its meaning; new entries come at the
 * end. */
#define SLUICE_API_VERSION 1u

/* The errors are the exit codes of the sluice program. */
typedef enum sluice_result {
  SLUICE_OK = 0,
  SLUICE_ERROR_INTERNAL = 1, /* a defect of the engine */
  SLUICE_ERROR_USAGE = 2,    /* the caller asked for something that cannot be */
  SLUICE_ERROR_FILE = 3,     /* the model's file is missing, broken, or of an unknown kind */
  SLUICE_ERROR_MEMORY = 4,   /* it does not fit */
  SLUICE_ERROR_DEVICE = 5,   /* a device failed */
  SLUICE_CANCELLED = 130     /* stopped by sluice_session_cancel() */
} sluice_result;

/* Filled by the call, owned by the caller. A sentence longer than the buffer is cut between characters and ends in
 * "...". */
typedef struct sluice_error {
  int32_t result; /* a sluice_result */
  char message[2044];
} sluice_error;

typedef struct sluice_model sluice_model;     /* an opened model: weights and vocabulary, immutable */
typedef struct sluice_session sluice_session; /* one sequence of tokens and the state they left in the model's layers */
typedef struct sluice_sampler sluice_sampler; /* how the next token is drawn, with its random generator */

typedef int32_t sluice_token;

/* How weights lie in memory; the results are the same to the bit. */
typedef enum sluice_residency {
  SLUICE_RESIDENCY_AUTO = 0, /* as is fastest on this machine, as far as nine tenths of the free memory hold it */
  SLUICE_RESIDENCY_FILE = 1, /* in the mapped file, shared with other processes: the least memory */
  SLUICE_RESIDENCY_FAST = 2  /* in the form that multiplies fastest where one is known and memory holds it */
} sluice_residency;

/* What multiplies. */
typedef enum sluice_device {
  SLUICE_DEVICE_AUTO = 0, /* the GPU where there is one that holds the whole model, else the CPU */
  SLUICE_DEVICE_CPU = 1,
  SLUICE_DEVICE_CUDA = 2 /* an NVIDIA GPU; SLUICE_ERROR_DEVICE where there is none */
} sluice_device;

typedef struct sluice_model_options {
  uint32_t struct_size;
  uint32_t n_threads;        /* 0: one a physical core, as far as affinity mask and control groups allow */
  const char* pre_tokenizer; /* used instead of the one that the file names; NULL obeys the file */
  /* Called on the opening thread as loading goes on; may be NULL. Must return, by no exception and no longjmp. */
  void (*on_progress)(void* user, uint64_t done_bytes, uint64_t total_bytes);
  void* user;           /* passed to on_progress */
  uint32_t pin_threads; /* not 0: bind each thread of the engine but the caller's to a core of its own */
  uint32_t residency;   /* a sluice_residency */
  /* Memory that the process may have, all told: weights that do not fit are read from the disk as they are needed. 0: what is free,
     less a margin. */
  uint64_t ram_bytes;
  /* What sessions will be created with: their memory is kept free of weights. 0: as in sluice_session_options. */
  uint32_t n_context;
  uint32_t n_batch;
  uint64_t vram_bytes; /* of each GPU, not to be exceeded; 0: what is free, less a margin */
  uint32_t device;     /* a sluice_device */
  uint32_t reserved;   /* 0 */
} sluice_model_options;

typedef struct sluice_model_info {
  uint32_t struct_size;
  uint32_t vocabulary_size; /* tokens; ids run from 0 to one less */
  uint32_t trained_context; /* tokens */
  uint32_t n_threads;       /* in use */
  sluice_token bos_token;   /* -1: none */
  sluice_token eos_token;   /* -1: none */
  const char* architecture; /* as the file names it; valid until the model is closed */
  const char* device;       /* "CPU", or the GPUs' names ("A + B"); valid until the model is closed */
} sluice_model_info;

/* What sluice_tokenize() does besides splitting the text; add them up. */
enum {
  /* Text that spells a special token (such as <|user|>) becomes that token. Leave it off for what a person wrote. */
  SLUICE_TOKENIZE_SPECIAL = 1,
  /* Begin with BOS, and end with EOS, where the vocabulary asks for it. A BOS that the text spells itself is not
     doubled. */
  SLUICE_TOKENIZE_ADD_BOS = 2
};

typedef enum sluice_cache_type {
  SLUICE_CACHE_F16 = 0,
  SLUICE_CACHE_F32 = 1,
  SLUICE_CACHE_BF16 = 2,
  SLUICE_CACHE_Q8_0 = 3 /* 8 bits with a scale for 32 values: 53% of the memory of F16 */
} sluice_cache_type;

typedef struct sluice_session_options {
  uint32_t struct_size;
  uint32_t n_context; /* tokens; 0: the trained context, at most 4096 */
  uint32_t n_batch;   /* tokens that one pass evaluates at most; 0: 512 */
  uint32_t cache;     /* a sluice_cache_type: the number format of keys and values */
} sluice_session_options;

typedef struct sluice_session_info {
  uint32_t struct_size;
  uint32_t n_context;   /* tokens */
  uint64_t n_tokens;    /* evaluated so far */
  uint64_t state_bytes; /* memory that the sequence's state holds */
} sluice_session_info;

typedef struct sluice_logit_bias {
  sluice_token token;
  float bias; /* added to the logit; minus infinity forbids the token */
} sluice_logit_bias;

/* The order of operations: bias, penalties, then (unless greedy) top-k, top-p, min-p, temperature, draw. */
typedef struct sluice_sampler_options {
  uint32_t struct_size;
  float temperature;    /* 0 or less: greedy */
  int32_t top_k;        /* 0 or less: all */
  float top_p;          /* 1: off */
  float min_p;          /* 0: off */
  float repeat_penalty; /* 1: off */
  float presence_penalty;
  float frequency_penalty;
  int32_t repeat_last_n;               /* how many recent tokens the penalties look at; -1: all, 0: none */
  uint32_t n_logit_bias;               /* entries of logit_bias */
  uint64_t seed;                       /* the same seed and tokens give the same choices */
  const sluice_logit_bias* logit_bias; /* copied; may be NULL when n_logit_bias is 0 */
} sluice_sampler_options;

/* The table. Entries are never removed or reordered within a version; one at an offset of struct_size or more is
 * absent. */
typedef struct sluice_api {
  uint32_t struct_size; /* bytes of the library's table */
  uint32_t version;     /* SLUICE_API_VERSION of the library's table */

  const char* (*version_string)(void);

  sluice_result (*model_open)(const char* path, const sluice_model_options* options, sluice_model** model,
                              sluice_error* error);
  void (*model_close)(sluice_model* model);
  sluice_result (*model_describe)(const sluice_model* model, sluice_model_info* info, sluice_error* error);

  sluice_result (*tokenize)(const sluice_model* model, const char* text, size_t text_bytes, uint32_t flags,
                            sluice_token* tokens, size_t capacity, size_t* n_tokens, sluice_error* error);
  sluice_result (*token_bytes)(const sluice_model* model, sluice_token token, int show_control, char* bytes,
                               size_t capacity, size_t* n_bytes, sluice_error* error);
  int (*token_ends_generation)(const sluice_model* model, sluice_token token);

  sluice_result (*session_create)(const sluice_model* model, const sluice_session_options* options,
                                  sluice_session** session, sluice_error* error);
  void (*session_free)(sluice_session* session);
  sluice_result (*session_describe)(const sluice_session* session, sluice_session_info* info, sluice_error* error);
  sluice_result (*session_evaluate)(sluice_session* session, const sluice_token* tokens, size_t n_tokens,
                                    sluice_error* error);
  sluice_result (*session_truncate)(sluice_session* session, size_t n_tokens, sluice_error* error);
  sluice_result (*session_logits)(const sluice_session* session, const float** logits, sluice_error* error);
  void (*session_cancel)(sluice_session* session);
  void (*session_resume)(sluice_session* session);

  sluice_result (*sampler_create)(const sluice_sampler_options* options, sluice_sampler** sampler, sluice_error* error);
  void (*sampler_free)(sluice_sampler* sampler);
  sluice_result (*sample)(sluice_session* session, sluice_sampler* sampler, sluice_token* token, sluice_error* error);
} sluice_api;

/* The type of the library's one exported symbol, "sluice_get_api". It returns the table of this version, which is
 * constant and lives as long as the library is loaded, or NULL when the library has no table of it. Safe from any
 * thread. */
typedef const sluice_api* (*sluice_get_api_function)(uint32_t version);

/* Options with every field at its default. */

static inline sluice_model_options sluice_default_model_options(void) {
  sluice_model_options options = {(uint32_t)sizeof(sluice_model_options), 0, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0};
  return options;
}

static inline sluice_session_options sluice_default_session_options(void) {
  sluice_session_options options = {(uint32_t)sizeof(sluice_session_options), 0, 512, SLUICE_CACHE_F16};
  return options;
}

static inline sluice_sampler_options sluice_default_sampler_options(void) {
  sluice_sampler_options options = {
      (uint32_t)sizeof(sluice_sampler_options), 0.8f, 40, 0.95f, 0.05f, 1.0f, 0.0f, 0.0f, 64, 0, 0, NULL};
  return options;
}

#ifndef SLUICE_NO_WRAPPERS

const sluice_api* sluice_get_api(uint32_t version);

/* What the wrappers answer when this header is newer than the library. */
static inline sluice_result sluice_api_missing(sluice_error* error) {
  static const char message[] =
      "The installed libsluice is older than the sluice.h that this program was built with; install them together.";
  size_t i;
  if (error != NULL) {
    error->result = SLUICE_ERROR_USAGE;
    for (i = 0; i < sizeof(message); ++i) error->message[i] = message[i];
  }
  return SLUICE_ERROR_USAGE;
}

/* The library's version, as "0.1.0"; constant. */
static inline const char* sluice_version_string(void) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  return api == NULL ? "" : api->version_string();
}

/* Opens a GGUF model by the path of its file, or of any of its shards. options may be NULL. *model is NULL on failure.
 * SLUICE_ERROR_FILE: not there, broken, or of an unknown architecture or format. SLUICE_ERROR_MEMORY,
 * SLUICE_ERROR_DEVICE. */
static inline sluice_result sluice_model_open(const char* path, const sluice_model_options* options,
                                              sluice_model** model, sluice_error* error) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  if (api == NULL) {
    if (model != NULL) *model = NULL;
    return sluice_api_missing(error);
  }
  return api->model_open(path, options, model, error);
}

/* Gives the model back; its memory goes with its last session. No other call on the model may be under way. */
static inline void sluice_model_close(sluice_model* model) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  if (api != NULL) api->model_close(model);
}

/* Fills *info, whose struct_size the caller has set. */
static inline sluice_result sluice_model_describe(const sluice_model* model, sluice_model_info* info,
                                                  sluice_error* error) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  return api == NULL ? sluice_api_missing(error) : api->model_describe(model, info, error);
}

/* Splits text_bytes bytes of text into tokens; flags are SLUICE_TOKENIZE_... added up. *n_tokens receives how many
 * there are. With tokens NULL that is all it does. When there are more than `capacity`, nothing is written to tokens
 * and the result is SLUICE_ERROR_USAGE. Text that is not UTF-8 is no error: its bytes are encoded as they are. */
static inline sluice_result sluice_tokenize(const sluice_model* model, const char* text, size_t text_bytes,
                                            uint32_t flags, sluice_token* tokens, size_t capacity, size_t* n_tokens,
                                            sluice_error* error) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  return api == NULL ? sluice_api_missing(error)
                     : api->tokenize(model, text, text_bytes, flags, tokens, capacity, n_tokens, error);
}

/* The bytes that a token stands for, not NUL-terminated; they may be a part of a UTF-8 character. *n_bytes receives
 * their count. bytes and capacity as in sluice_tokenize(). Control tokens give nothing unless show_control is not 0,
 * which gives their spelling. SLUICE_ERROR_USAGE: the vocabulary has no such token. */
static inline sluice_result sluice_token_bytes(const sluice_model* model, sluice_token token, int show_control,
                                               char* bytes, size_t capacity, size_t* n_bytes, sluice_error* error) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  return api == NULL ? sluice_api_missing(error)
                     : api->token_bytes(model, token, show_control, bytes, capacity, n_bytes, error);
}

/* 1 when the token ends an answer (end of text, end of turn), else 0, also for ids that the vocabulary does not have.
 */
static inline int sluice_token_ends_generation(const sluice_model* model, sluice_token token) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  return api == NULL ? 0 : api->token_ends_generation(model, token);
}

/* An empty sequence. options may be NULL. *session is NULL on failure.
 * SLUICE_ERROR_MEMORY: the context does not fit. SLUICE_ERROR_USAGE: it is not one that the model can have. */
static inline sluice_result sluice_session_create(const sluice_model* model, const sluice_session_options* options,
                                                  sluice_session** session, sluice_error* error) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  if (api == NULL) {
    if (session != NULL) *session = NULL;
    return sluice_api_missing(error);
  }
  return api->session_create(model, options, session, error);
}

/* No other call on the session may be under way, in any thread. */
static inline void sluice_session_free(sluice_session* session) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  if (api != NULL) api->session_free(session);
}

/* Fills *info, whose struct_size the caller has set. */
static inline sluice_result sluice_session_describe(const sluice_session* session, sluice_session_info* info,
                                                    sluice_error* error) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  return api == NULL ? sluice_api_missing(error) : api->session_describe(session, info, error);
}

/* Appends tokens to the sequence and runs the model over them, n_batch at a time; the logits are then those that follow
 * the last one. No tokens: nothing happens. SLUICE_ERROR_USAGE: the context has no room for all, or an id is not in the
 * vocabulary; nothing was evaluated. SLUICE_CANCELLED: batches that were done stay in the sequence
 * (sluice_session_describe() tells); there are no logits. */
static inline sluice_result sluice_session_evaluate(sluice_session* session, const sluice_token* tokens,
                                                    size_t n_tokens, sluice_error* error) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  return api == NULL ? sluice_api_missing(error) : api->session_evaluate(session, tokens, n_tokens, error);
}

/* Forgets all but the first n_tokens tokens. There are no logits until the next evaluation.
 * SLUICE_ERROR_USAGE: the sequence is shorter than that. */
static inline sluice_result sluice_session_truncate(sluice_session* session, size_t n_tokens, sluice_error* error) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  return api == NULL ? sluice_api_missing(error) : api->session_truncate(session, n_tokens, error);
}

/* *logits receives the session's own vocabulary_size floats, valid until the next call that changes the session.
 * SLUICE_ERROR_USAGE: nothing has been evaluated since the beginning, a truncation or a cancellation. */
static inline sluice_result sluice_session_logits(const sluice_session* session, const float** logits,
                                                  sluice_error* error) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  return api == NULL ? sluice_api_missing(error) : api->session_logits(session, logits, error);
}

/* Stops the evaluation under way at the next layer of its batch, which then leaves nothing behind, and every later one at
 * once, until sluice_session_resume(). Only sets a flag: may be called from any thread and from a signal handler. */
static inline void sluice_session_cancel(sluice_session* session) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  if (api != NULL) api->session_cancel(session);
}

/* Takes the cancellation back. The flag is the caller's alone: an evaluation that it stopped does not clear it. */
static inline void sluice_session_resume(sluice_session* session) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  if (api != NULL) api->session_resume(session);
}

/* options may be NULL. *sampler is NULL on failure. SLUICE_ERROR_USAGE: an option that is not a number. */
static inline sluice_result sluice_sampler_create(const sluice_sampler_options* options, sluice_sampler** sampler,
                                                  sluice_error* error) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  if (api == NULL) {
    if (sampler != NULL) *sampler = NULL;
    return sluice_api_missing(error);
  }
  return api->sampler_create(options, sampler, error);
}

static inline void sluice_sampler_free(sluice_sampler* sampler) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  if (api != NULL) api->sampler_free(sampler);
}

/* Chooses the token that follows, from the session's logits and, for the penalties, its tokens. The session does not
 * change: evaluate the token to go on. SLUICE_ERROR_USAGE: there are no logits, as for sluice_session_logits(). */
static inline sluice_result sluice_sample(sluice_session* session, sluice_sampler* sampler, sluice_token* token,
                                          sluice_error* error) {
  const sluice_api* api = sluice_get_api(SLUICE_API_VERSION);
  return api == NULL ? sluice_api_missing(error) : api->sample(session, sampler, token, error);
}

#endif /* SLUICE_NO_WRAPPERS */

#ifdef __cplusplus
}
#endif

#endif /* SLUICE_H */
