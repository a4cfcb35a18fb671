#include "protocol/base/datetime.h"

#include <stdio.h>

#include "protocol/base/check.h"

enum { SECONDS_PER_DAY = 86400, DAYS_PER_ERA = 146097, YEAR_DIGITS_MAX = 12 };

struct cursor {
    const char *at;
    const char *end;
};

static bool take(struct cursor *in, char c)
{
    if (in->at < in->end && *in->at == c) {
        in->at++;
        return true;
    }
    return false;
}

static bool is_digit(const struct cursor *in)
{
    return in->at < in->end && *in->at >= '0' && *in->at <= '9';
}

/* Exactly two digits, at most `highest`. */
static bool take_two(struct cursor *in, int highest, int *out)
{
    int value = 0;
    for (int i = 0; i < 2; i++) {
        if (!is_digit(in)) {
            return false;
        }
        value = value * 10 + (*in->at++ - '0');
    }
    *out = value;
    return value <= highest;
}

/* Four digits, or a sign and at least four: without a sign a fifth digit is a
 * fault, as ISO 8601 has it. */
static bool take_year(struct cursor *in, int64_t *out)
{
    bool minus = take(in, '-');
    bool is_signed = minus || take(in, '+');
    int64_t year = 0;
    int digits = 0;
    while (is_digit(in) && digits < (is_signed ? YEAR_DIGITS_MAX : 4)) {
        year = year * 10 + (*in->at++ - '0');
        digits++;
    }
    *out = minus ? -year : year;
    return digits >= 4;
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_in_month(int64_t year, int month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

static int64_t floor_divide(int64_t value, int64_t by)
{
    return value / by - (value % by < 0 ? 1 : 0);
}

/* Days since 1970-01-01 in the Gregorian calendar reckoned backwards too. The
 * year is taken to begin in March, so that the leap day is its last; an era is
 * 400 years, after which the calendar repeats. */
static int64_t days_from_date(int64_t year, int month, int day)
{
    year -= month <= 2 ? 1 : 0;
    int64_t era = floor_divide(year, 400);
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_PER_ERA + day_of_era - 719468;
}

static void date_from_days(int64_t days, int64_t *year, int *month, int *day)
{
    days += 719468;
    int64_t era = floor_divide(days, DAYS_PER_ERA);
    int64_t day_of_era = days - era * DAYS_PER_ERA;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153;
    *day = (int)(day_of_year - (153 * shifted + 2) / 5 + 1);
    *month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
    *year = year_of_era + era * 400 + (*month <= 2 ? 1 : 0);
}

/* Digits after the ninth are dropped: a moment has nanoseconds. */
static bool take_fraction(struct cursor *in, uint32_t *nanoseconds)
{
    uint32_t scale = 100000000;
    if (!is_digit(in)) {
        return false;
    }
    *nanoseconds = 0;
    while (is_digit(in)) {
        *nanoseconds += (uint32_t)(*in->at++ - '0') * scale;
        scale /= 10;
    }
    return true;
}

static bool take_time(struct cursor *in, int64_t *seconds, uint32_t *nanoseconds)
{
    int hour, minute, second = 0;
    if (!take_two(in, 23, &hour) || !take(in, ':') || !take_two(in, 59, &minute)) {
        return false;
    }
    if (take(in, ':')) {
        if (!take_two(in, 59, &second)) {
            return false;
        }
        if ((take(in, '.') || take(in, ',')) && !take_fraction(in, nanoseconds)) {
            return false;
        }
    }
    *seconds = hour * 3600 + minute * 60 + second;
    return true;
}

/* How far the zone is ahead of UTC; UTC where none stands. */
static bool take_zone(struct cursor *in, int64_t *ahead)
{
    *ahead = 0;
    if (take(in, 'Z') || take(in, 'z')) {
        return true;
    }
    bool minus = take(in, '-');
    if (!minus && !take(in, '+')) {
        return true;
    }
    int hours, minutes = 0;
    if (!take_two(in, 23, &hours)) {
        return false;
    }
    if ((take(in, ':') || is_digit(in)) && !take_two(in, 59, &minutes)) {
        return false;
    }
    *ahead = hours * 3600 + minutes * 60;
    *ahead = minus ? -*ahead : *ahead;
    return true;
}

bool datetime_parse(const char *text, size_t size, struct datetime *out)
{
    struct cursor in = {text, size > 0 ? text + size : text};
    int64_t year, of_day = 0, ahead = 0;
    int month, day;
    uint32_t nanoseconds = 0;
    if (!take_year(&in, &year) || !take(&in, '-') || !take_two(&in, 12, &month) ||
        !take(&in, '-') || !take_two(&in, 31, &day)) {
        return false;
    }
    if (month < 1 || day < 1 || day > days_in_month(year, month)) {
        return false;
    }
    if (take(&in, 'T') || take(&in, 't') || take(&in, ' ')) {
        if (!take_time(&in, &of_day, &nanoseconds) || !take_zone(&in, &ahead)) {
            return false;
        }
    }
    /* Counted from the end of a day before 1970, since the first of all days
     * begins earlier than 64 bits can tell. */
    int64_t days = days_from_date(year, month, day);
    if (days < 0) {
        days++;
        of_day -= SECONDS_PER_DAY;
    }
    int64_t seconds;
    if (in.at != in.end || __builtin_mul_overflow(days, SECONDS_PER_DAY, &seconds) ||
        __builtin_add_overflow(seconds, of_day - ahead, &seconds)) {
        return false;
    }
    *out = (struct datetime){.seconds = seconds, .nanoseconds = nanoseconds};
    return true;
}

static int format_fraction(uint32_t nanoseconds, char *out, size_t capacity)
{
    if (nanoseconds == 0) {
        return 0;
    }
    if (nanoseconds % 1000000 == 0) {
        return snprintf(out, capacity, ".%03u", nanoseconds / 1000000);
    }
    if (nanoseconds % 1000 == 0) {
        return snprintf(out, capacity, ".%06u", nanoseconds / 1000);
    }
    return snprintf(out, capacity, ".%09u", nanoseconds);
}

size_t datetime_format(const struct datetime *datetime, char out[DATETIME_TEXT_MAX])
{
    CHECK(datetime->nanoseconds < 1000000000);
    int64_t days = floor_divide(datetime->seconds, SECONDS_PER_DAY);
    int of_day = (int)(datetime->seconds % SECONDS_PER_DAY);
    of_day += of_day < 0 ? SECONDS_PER_DAY : 0;
    int64_t year;
    int month, day;
    date_from_days(days, &year, &month, &day);

    const char *sign = year < 0 ? "-" : year > 9999 ? "+" : "";
    int used = snprintf(out, DATETIME_TEXT_MAX, "%s%04lld-%02d-%02dT%02d:%02d:%02d", sign,
                        (long long)(year < 0 ? -year : year), month, day, of_day / 3600,
                        of_day / 60 % 60, of_day % 60);
    CHECK(used > 0 && used < DATETIME_TEXT_MAX);
    used += format_fraction(datetime->nanoseconds, out + used, DATETIME_TEXT_MAX - (size_t)used);
    used += snprintf(out + used, DATETIME_TEXT_MAX - (size_t)used, "Z");
    CHECK(used < DATETIME_TEXT_MAX);
    return (size_t)used;
}

int datetime_compare(const struct datetime *a, const struct datetime *b)
{
    if (a->seconds != b->seconds) {
        return a->seconds < b->seconds ? -1 : 1;
    }
    return (a->nanoseconds > b->nanoseconds) - (a->nanoseconds < b->nanoseconds);
}
