#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void text_add_part(struct text *text, const char *more, size_t length)
{
    size_t left = text->room - text->used - 1;
    if (length > left)
        length = left;
    memcpy(text->bytes + text->used, more, length);
    text->used += length;
    text->bytes[text->used] = '\0';
}

void text_add(struct text *text, const char *more)
{
    text_add_part(text, more, strlen(more));
}

void text_format(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int wanted = vsnprintf(text->bytes + text->used, text->room - text->used, format, arguments);
    va_end(arguments);
    size_t left = text->room - text->used - 1;
    if (wanted > 0)
        text->used += (size_t)wanted < left ? (size_t)wanted : left;
}

/* The code point at `at` and its length; U+FFFD of length 1 for what is no UTF-8 (overlong forms and halves of
   surrogate pairs too: a JSON reader may refuse the whole document for one of them). */
static unsigned decoded(const unsigned char *at, size_t *length)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t wanted = at[0] < 0x80 ? 1 : at[0] >= 0xf0 && at[0] < 0xf8 ? 4 : at[0] >= 0xe0 && at[0] < 0xf0 ? 3
                    : at[0] >= 0xc0 && at[0] < 0xe0                  ? 2
                                                                     : 0;
    *length = 1;
    if (wanted == 1)
        return at[0];
    unsigned point = wanted ? at[0] & (0x7fu >> wanted) : 0;
    for (size_t next = 1; next < wanted; next++) {
        if ((at[next] & 0xc0) != 0x80)
            return 0xfffd;
        point = point << 6 | (at[next] & 0x3fu);
    }
    if (!wanted || point < least[wanted] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
        return 0xfffd;
    *length = wanted;
    return point;
}

void text_add_json(struct text *text, const char *raw)
{
    const unsigned char *at = (const unsigned char *)raw;
    while (*at) {
        char escape[16];
        size_t length;
        unsigned point = decoded(at, &length);
        if (point == '"' || point == '\\')
            snprintf(escape, sizeof escape, "\\%c", (char)point);
        else if (point >= 0x20 && point < 0x7f)
            snprintf(escape, sizeof escape, "%c", (char)point);
        else if (point < 0x10000)
            snprintf(escape, sizeof escape, "\\u%04x", point);
        else
            snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xd800 + ((point - 0x10000) >> 10),
                     0xdc00 + ((point - 0x10000) & 0x3ff));
        if (strlen(escape) > text->room - text->used - 1)
            return;
        text_add(text, escape);
        at += length;
    }
}
