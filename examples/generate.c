/* Continues a text with a model, through the C API:
 *
 *   cc -std=c99 examples/generate.c $(pkg-config --cflags --libs sluice) -o generate
 *   ./generate MODEL.gguf "Once upon a time" 64
 *
 * The first Ctrl-C ends the text. The exit code is 0, or the sluice_result of what failed.
 */
#include <signal.h>
#include <sluice.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A signal handler can reach nothing but a global. The library itself has none. */
static sluice_session* session_to_cancel = NULL;

static void cancel_on_signal(int number) {
  (void)number;
  sluice_session_cancel(session_to_cancel);
}

static int fail(const sluice_error* error) {
  fprintf(stderr, "error: %s\n", error->message);
  return error->result;
}

/* Writes a token's bytes to stdout. */
static sluice_result print_token(const sluice_model* model, sluice_token token, sluice_error* error) {
  char bytes[1024];
  size_t n_bytes = 0;
  sluice_result result = sluice_token_bytes(model, token, 0, bytes, sizeof(bytes), &n_bytes, error);
  if (result == SLUICE_OK) {
    fwrite(bytes, 1, n_bytes, stdout);
    fflush(stdout);
  }
  return result;
}

/* The prompt's tokens, to be freed by the caller; NULL on failure. */
static sluice_token* tokenize(const sluice_model* model, const char* prompt, size_t* n_tokens, sluice_error* error) {
  const uint32_t flags = SLUICE_TOKENIZE_SPECIAL | SLUICE_TOKENIZE_ADD_BOS;
  sluice_token* tokens;
  if (sluice_tokenize(model, prompt, strlen(prompt), flags, NULL, 0, n_tokens, error) != SLUICE_OK) return NULL;
  tokens = malloc((*n_tokens + 1) * sizeof(*tokens));
  if (tokens == NULL) {
    error->result = SLUICE_ERROR_MEMORY;
    strcpy(error->message, "There is no memory for the prompt's tokens.");
    return NULL;
  }
  if (sluice_tokenize(model, prompt, strlen(prompt), flags, tokens, *n_tokens, n_tokens, error) != SLUICE_OK) {
    free(tokens);
    return NULL;
  }
  return tokens;
}

static sluice_result generate(sluice_session* session, const sluice_model* model, const char* prompt, long max_tokens,
                              sluice_error* error) {
  sluice_sampler_options options = sluice_default_sampler_options();
  sluice_sampler* sampler = NULL;
  sluice_session_info info;
  sluice_token* tokens;
  sluice_token token;
  size_t n_tokens = 0;
  sluice_result result;

  tokens = tokenize(model, prompt, &n_tokens, error);
  if (tokens == NULL) return (sluice_result)error->result;
  result = sluice_session_evaluate(session, tokens, n_tokens, error);
  free(tokens);
  if (result != SLUICE_OK) return result;

  options.temperature = 0; /* always the likeliest token */
  result = sluice_sampler_create(&options, &sampler, error);
  while (result == SLUICE_OK && max_tokens-- > 0) {
    info.struct_size = sizeof(info);
    result = sluice_session_describe(session, &info, error);
    if (result != SLUICE_OK || info.n_tokens == info.n_context) break;
    result = sluice_sample(session, sampler, &token, error);
    if (result != SLUICE_OK || sluice_token_ends_generation(model, token)) break;
    result = print_token(model, token, error);
    if (result == SLUICE_OK) result = sluice_session_evaluate(session, &token, 1, error);
  }
  sluice_sampler_free(sampler);
  return result == SLUICE_CANCELLED ? SLUICE_OK : result;
}

int main(int argc, char** argv) {
  sluice_error error;
  sluice_model* model = NULL;
  sluice_session* session = NULL;
  sluice_result result;
  int exit_code = 0;

  if (argc < 3 || argc > 4) {
    fprintf(stderr, "usage: %s MODEL PROMPT [MAX_TOKENS]\n", argv[0]);
    return SLUICE_ERROR_USAGE;
  }
  if (sluice_model_open(argv[1], NULL, &model, &error) != SLUICE_OK) return fail(&error);
  if (sluice_session_create(model, NULL, &session, &error) != SLUICE_OK) {
    sluice_model_close(model);
    return fail(&error);
  }
  session_to_cancel = session;
  signal(SIGINT, cancel_on_signal);

  fputs(argv[2], stdout);
  result = generate(session, model, argv[2], argc == 4 ? atol(argv[3]) : 64, &error);
  putchar('\n');
  if (result != SLUICE_OK) exit_code = fail(&error);

  signal(SIGINT, SIG_DFL);
  sluice_session_free(session);
  sluice_model_close(model);
  return exit_code;
}
