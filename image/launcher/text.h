/* Bounded text: appending past the end cuts it, and it is always terminated. */
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>

struct text {
    char *bytes;
    size_t used;
    size_t room; /* with the terminator */
};

#define TEXT(name, size)                                                                                     \
    char name##_bytes[size] = "";                                                                            \
    struct text name = {name##_bytes, 0, size}

void text_add(struct text *text, const char *more);
void text_add_part(struct text *text, const char *more, size_t length);
void text_format(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As the inside of a JSON string in ASCII. Bytes that are no UTF-8 become U+FFFD. Never cuts inside an escape. */
void text_add_json(struct text *text, const char *raw);

#endif
