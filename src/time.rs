//! Points in time, and their text form of XEP-0082 (DateTime profile, version 1.1.1).
//!
//! The engine never reads a clock: every call brings the present time along.

use std::fmt;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// One second, in the unit of [`Timestamp::micros`].
    pub const SECOND: i64 = 1_000_000;

    /// The time this many microseconds after the beginning of 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the beginning of 1970.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This time and `seconds` more, saturating at the end of time.
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(Self::SECOND)))
    }

    /// Reads an XEP-0082 DateTime: `CCYY-MM-DDThh:mm:ss[.sss]TZD`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if bytes.len() < 20 || !text.is_ascii() || separators.iter().any(|&(at, sign)| bytes[at] != sign) {
            return None;
        }
        let number = |from: usize, to: usize| -> Option<i64> {
            let part = &text[from..to];
            part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 24 || minute > 59 || second > 60 {
            return None;
        }
        let mut rest = &text[19..];
        let mut fraction = 0;
        if let Some(after) = rest.strip_prefix('.') {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return None;
            }
            let padded = format!("{:0<6}", &after[..digits.min(6)]);
            fraction = padded.parse::<i64>().ok()?;
            rest = &after[digits..];
        }
        let offset = match rest {
            "Z" => 0,
            _ if rest.len() == 6 && rest.as_bytes()[3] == b':' => {
                let at = text.len() - 6;
                let minutes = number(at + 1, at + 3)? * 60 + number(at + 4, at + 6)?;
                match rest.as_bytes()[0] {
                    b'+' => minutes,
                    b'-' => -minutes,
                    _ => return None,
                }
            }
            _ => return None,
        };
        let days = days_from_civil(year, month, day);
        let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset * 60;
        Some(Self(seconds * Self::SECOND + fraction))
    }
}

impl fmt::Display for Timestamp {
    /// The XEP-0082 form in UTC; a fraction of six digits only where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, fraction) = (self.0.div_euclid(Self::SECOND), self.0.rem_euclid(Self::SECOND));
        let (days, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if fraction != 0 {
            write!(f, ".{fraction:06}")?;
        }
        f.write_str("Z")
    }
}

// Both conversions count from 0000-03-01, so that a leap day is the last day of its year.
const DAYS_TO_1970: i64 = 719_468;
const DAYS_PER_ERA: i64 = 146_097;

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - DAYS_TO_1970
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn text_and_back() {
        for text in
            ["1969-07-21T02:56:15Z", "2000-02-29T23:59:59Z", "2026-11-20T20:25:00.000001Z", "1970-01-01T00:00:00Z"]
        {
            assert_eq!(Timestamp::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn offsets_and_fractions() {
        let utc = Timestamp::parse("1969-07-21T02:56:15Z");
        assert_eq!(Timestamp::parse("1969-07-20T21:56:15-05:00"), utc);
        assert_eq!(Timestamp::parse("1970-01-01T00:00:00.5Z"), Some(Timestamp::from_micros(500_000)));
    }

    #[test]
    fn what_is_not_a_datetime() {
        for text in
            ["", "presence", "2026-11-20", "2026-13-20T00:00:00Z", "2026-11-20T00:00:00", "2026-11-20T00:00:00.Z"]
        {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
