/*
 * eval_journal.c: finished steps of a run in a file: JSON lines, the first of which tells whose they are.
 *
 * A line is written at once when its step is done, so that a kill leaves at most the last one in pieces, and that is
 * dropped. Numbers are written with as many digits as they need to come back the same.
 */
#include "eval.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct eval_journal {
    int fd;
    char *file;
    yyjson_doc **lines; /* [count], the steps */
    size_t count;
    char broken[TOOL_WHY];
};

/* ---- Writing ---- */

static void give_up(struct eval_journal *j, const char *why)
{
    snprintf(j->broken, sizeof j->broken, "cannot write '%.300s': %s", j->file, why);
    fprintf(stderr, "woq eval: %s; going on without it\n", j->broken);
}

/* Frees the document. */
static void write_line(struct eval_journal *j, yyjson_mut_doc *doc)
{
    size_t size = 0, done = 0;
    char *text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INF_AND_NAN, &size);
    yyjson_mut_doc_free(doc);
    if (!text) {
        give_up(j, "no host memory for a line");
        return;
    }
    text = tool_grow(text, size + 1, 1);
    text[size++] = '\n';
    while (done < size && !*j->broken) {
        const ssize_t n = write(j->fd, text + done, size - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            give_up(j, strerror(errno));
    }
    free(text);
}

static yyjson_mut_doc *begin_line(const char *step, size_t model, yyjson_mut_val **root)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, *root);
    yyjson_mut_obj_add_str(doc, *root, "step", step);
    yyjson_mut_obj_add_uint(doc, *root, "model", model);
    return doc;
}

void eval_journal_add_window(struct eval_journal *j, size_t model, uint64_t window, uint32_t scored,
                             const struct woq_text_scores *s)
{
    yyjson_mut_val *v;
    if (!j || *j->broken)
        return;
    yyjson_mut_doc *doc = begin_line("window", model, &v);
    yyjson_mut_obj_add_uint(doc, v, "window", window);
    yyjson_mut_obj_add_real(doc, v, "seconds", s->seconds[window]);
    yyjson_mut_obj_add_val(doc, v, "nll", yyjson_mut_arr_with_real(doc, s->nll + window * scored, scored));
    if (s->kl) {
        yyjson_mut_obj_add_val(doc, v, "kl", yyjson_mut_arr_with_real(doc, s->kl + window * scored, scored));
        yyjson_mut_obj_add_val(doc, v, "same", yyjson_mut_arr_with_uint8(doc, s->same + window * scored, scored));
    }
    write_line(j, doc);
}

void eval_journal_add_predictions(struct eval_journal *j, size_t model, const char *task, uint64_t first, uint64_t end,
                                  const struct woq_prediction *predictions)
{
    yyjson_mut_val *v;
    if (!j || *j->broken)
        return;
    yyjson_mut_doc *doc = begin_line(task, model, &v);
    yyjson_mut_obj_add_uint(doc, v, "first", first);
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, v, "predictions");
    for (uint64_t i = first; i < end; i++) {
        const struct woq_prediction *p = &predictions[i];
        const double numbers[] = {p->log_probability, p->choices[0], p->choices[1], p->choices[2], p->choices[3],
                                  p->answer, p->correct, p->truncated, p->tokens};
        yyjson_mut_arr_append(list, yyjson_mut_arr_with_real(doc, numbers, sizeof numbers / sizeof *numbers));
    }
    write_line(j, doc);
}

const char *eval_journal_broken(const struct eval_journal *j)
{
    return *j->broken ? j->broken : NULL;
}

/* ---- Reading ---- */

static bool reals(yyjson_val *list, double *out, size_t count)
{
    yyjson_arr_iter iter;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) != count)
        return false;
    yyjson_arr_iter_init(list, &iter);
    for (size_t i = 0; i < count; i++) {
        yyjson_val *v = yyjson_arr_iter_next(&iter);
        if (!yyjson_is_num(v))
            return false;
        out[i] = yyjson_get_num(v);
    }
    return true;
}

static bool is_step(yyjson_val *v, const char *step, size_t model)
{
    return yyjson_equals_str(yyjson_obj_get(v, "step"), step) && yyjson_get_uint(yyjson_obj_get(v, "model")) == model;
}

static bool take_window(yyjson_val *v, uint64_t w, uint32_t scored, const struct woq_text_scores *s, double *same)
{
    s->seconds[w] = yyjson_get_num(yyjson_obj_get(v, "seconds"));
    if (!reals(yyjson_obj_get(v, "nll"), s->nll + w * scored, scored))
        return false;
    if (!s->kl)
        return true;
    if (!reals(yyjson_obj_get(v, "kl"), s->kl + w * scored, scored) || !reals(yyjson_obj_get(v, "same"), same, scored))
        return false;
    for (uint32_t i = 0; i < scored; i++)
        s->same[w * scored + i] = same[i] != 0;
    return true;
}

uint64_t eval_journal_windows(const struct eval_journal *j, size_t model, uint64_t windows, uint32_t scored,
                              const struct woq_text_scores *s)
{
    double *same = tool_alloc(scored, sizeof *same);
    uint64_t next = 0;
    for (size_t i = 0; j && i < j->count; i++) {
        yyjson_val *v = yyjson_doc_get_root(j->lines[i]);
        if (is_step(v, "window", model) && next < windows && yyjson_get_uint(yyjson_obj_get(v, "window")) == next &&
            take_window(v, next, scored, s, same))
            next++;
    }
    free(same);
    return next;
}

uint64_t eval_journal_predictions(const struct eval_journal *j, size_t model, const char *task,
                                  struct woq_prediction *predictions, uint64_t count)
{
    uint64_t next = 0;
    for (size_t i = 0; j && i < j->count; i++) {
        yyjson_val *v = yyjson_doc_get_root(j->lines[i]), *item;
        yyjson_arr_iter iter;
        if (!is_step(v, task, model) || yyjson_get_uint(yyjson_obj_get(v, "first")) != next ||
            !yyjson_arr_iter_init(yyjson_obj_get(v, "predictions"), &iter))
            continue;
        while ((item = yyjson_arr_iter_next(&iter)) && next < count) {
            double n[9];
            if (!reals(item, n, 9))
                return next;
            predictions[next++] = (struct woq_prediction){n[0], {n[1], n[2], n[3], n[4]}, (uint32_t)n[5],
                                                          (uint32_t)n[6], (uint32_t)n[7], (uint32_t)n[8]};
        }
    }
    return next;
}

/* ---- Whose it is ---- */

/* Says where two values differ first; false if they do not. */
static bool differs(yyjson_val *there, yyjson_val *here, const char *path, char *why)
{
    char *a, *b;
    size_t i, max;
    yyjson_val *key, *value;
    bool found = false;
    if (yyjson_equals(there, here))
        return false;
    if (yyjson_is_obj(there) && yyjson_is_obj(here))
        yyjson_obj_foreach(here, i, max, key, value) {
            char *name = tool_text("%s%s%s", path, *path ? "." : "", yyjson_get_str(key));
            found = found || differs(yyjson_obj_get(there, yyjson_get_str(key)), value, name, why);
            free(name);
        }
    if (yyjson_is_arr(there) && yyjson_is_arr(here) && yyjson_arr_size(there) == yyjson_arr_size(here))
        yyjson_arr_foreach(here, i, max, value) {
            char *name = tool_text("%s[%zu]", path, i);
            found = found || differs(yyjson_arr_get(there, i), value, name, why);
            free(name);
        }
    if (found)
        return true;
    a = yyjson_val_write(there, 0, NULL);
    b = yyjson_val_write(here, 0, NULL);
    snprintf(why, TOOL_WHY, "%s is %.120s there and %.120s here", *path ? path : "it", a ? a : "missing",
             b ? b : "missing");
    free(a);
    free(b);
    return true;
}

static int check_identity(const char *command, const char *file, yyjson_doc *line, const char *mine, size_t size)
{
    char why[TOOL_WHY];
    yyjson_val *root = yyjson_doc_get_root(line);
    if (yyjson_get_uint(yyjson_obj_get(root, "woq_eval_state")) != 1)
        return tool_failed(command, "'%s' is no state of woq eval; --state needs a file of its own", file);
    yyjson_doc *own = yyjson_read(mine, size, 0);
    const bool other = differs(root, yyjson_doc_get_root(own), "", why);
    yyjson_doc_free(own);
    return other ? tool_failed(command, "'%s' is the state of another run: %s; remove it, or name another file", file,
                               why)
                 : TOOL_OK;
}

/* ---- Opening ---- */

static char *read_file(int fd, size_t *size)
{
    struct stat info;
    *size = 0;
    if (fstat(fd, &info))
        return NULL;
    char *text = tool_alloc((size_t)info.st_size + 1, 1);
    for (ssize_t n = 1; n > 0 && *size < (size_t)info.st_size; *size += (size_t)n)
        if ((n = pread(fd, text + *size, (size_t)info.st_size - *size, (off_t)*size)) < 0) {
            free(text);
            return NULL;
        }
    return text;
}

/* The lines, without a last one in pieces. */
static int take_lines(const char *command, struct eval_journal *j, const char *text, size_t size, const char *mine,
                      size_t mine_size)
{
    size_t at = 0, good = 0;
    int result = TOOL_OK;
    for (size_t number = 1; at < size && !result; number++) {
        const char *end = memchr(text + at, '\n', size - at);
        const size_t length = end ? (size_t)(end - text) - at : size - at;
        yyjson_doc *line = end ? yyjson_read(text + at, length, YYJSON_READ_ALLOW_INF_AND_NAN) : NULL;
        at += length + (end != NULL);
        if (number == 1 && !line && size < mine_size && !memcmp(text, mine, size)) {
            break; /* killed while it wrote the first line */
        } else if (number == 1) {
            result = check_identity(command, j->file, line, mine, mine_size);
            yyjson_doc_free(line);
        } else if (line) {
            j->lines = tool_grow(j->lines, j->count + 1, sizeof *j->lines);
            j->lines[j->count++] = line;
        } else if (at < size) {
            result = tool_failed(command, "'%s' is damaged at line %zu; remove it to begin anew", j->file, number);
        }
        good = line ? at : good;
    }
    if (!result && good < size && ftruncate(j->fd, (off_t)good))
        result = tool_failed(command, "cannot write '%s': %s", j->file, strerror(errno));
    return result;
}

int eval_journal_open(const char *command, const char *file, yyjson_mut_doc *identity, struct eval_journal **out)
{
    struct eval_journal *j = *out = tool_alloc(1, sizeof *j);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    size_t size = 0, mine_size = 0;
    char *mine = yyjson_mut_write(identity, 0, &mine_size), *text = NULL;
    j->file = tool_text("%s", file);
    j->fd = open(file, O_RDWR | O_CREAT | O_APPEND, 0666);
    int result = !mine ? tool_failed(command, "no host memory for the state of the run")
                 : j->fd < 0 ? tool_failed(command, "cannot write '%s': %s", file, strerror(errno)) : TOOL_OK;
    if (!result && fcntl(j->fd, F_SETLK, &lock) && (errno == EACCES || errno == EAGAIN))
        result = tool_failed(command, "'%s' is in use by another run", file);
    if (!result && !(text = read_file(j->fd, &size)))
        result = tool_failed(command, "cannot read '%s': %s", file, strerror(errno));
    if (!result)
        result = take_lines(command, j, text, size, mine, mine_size);
    if (!result && lseek(j->fd, 0, SEEK_END) == 0)
        write_line(j, identity);
    else
        yyjson_mut_doc_free(identity);
    free(mine);
    free(text);
    return result;
}

void eval_journal_close(struct eval_journal **journal)
{
    struct eval_journal *j = *journal;
    *journal = NULL;
    if (!j)
        return;
    for (size_t i = 0; i < j->count; i++)
        yyjson_doc_free(j->lines[i]);
    free(j->lines);
    if (j->fd >= 0)
        close(j->fd);
    free(j->file);
    free(j);
}
