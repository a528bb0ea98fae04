//! Reading columns back into the types of the domain. A value that does not parse is damage, and
//! named.

use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use waxwing_wire::Digest;

use super::Error;

/// A row that knows its table.
pub(super) struct Row<'a> {
    table: &'static str,
    row: &'a SqliteRow,
}

impl<'a> Row<'a> {
    pub(super) const fn new(table: &'static str, row: &'a SqliteRow) -> Self {
        Self { table, row }
    }

    pub(super) fn text(&self, column: &'static str) -> Result<String, Error> {
        Ok(self.row.try_get(column)?)
    }

    /// Reads text whatever its bytes are: those that are no UTF-8 are shown in hexadecimal.
    pub(super) fn as_stored(&self, column: &'static str) -> Result<String, Error> {
        let not_utf8 = |error: std::string::FromUtf8Error| {
            let bytes = error.into_bytes();
            bytes.iter().fold("(not UTF-8) ".to_owned(), |text, byte| text + &format!("{byte:02x}"))
        };
        Ok(String::from_utf8(self.bytes(column)?).unwrap_or_else(not_utf8))
    }

    pub(super) fn bytes(&self, column: &'static str) -> Result<Vec<u8>, Error> {
        Ok(self.row.try_get(column)?)
    }

    pub(super) fn bytes_or_null(&self, column: &'static str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.row.try_get(column)?)
    }

    pub(super) fn parse<T: FromStr>(&self, column: &'static str) -> Result<T, Error> {
        let text = self.text(column)?;
        text.parse().map_err(|_| self.damaged(column, &text))
    }

    /// Reads a word of one of the domain's enums.
    pub(super) fn word<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let text = self.text(column)?;
        parse(&text).ok_or_else(|| self.damaged(column, &text))
    }

    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|_| self.damaged(column, &text))
    }

    pub(super) fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, Error> {
        let number: i64 = self.row.try_get(column)?;
        number.try_into().map_err(|_| self.damaged(column, &number.to_string()))
    }

    pub(super) fn number_or_null<T: TryFrom<i64>>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, Error> {
        let number: Option<i64> = self.row.try_get(column)?;
        number.map(|_| self.number(column)).transpose()
    }

    pub(super) fn text_or_null(&self, column: &'static str) -> Result<Option<String>, Error> {
        Ok(self.row.try_get(column)?)
    }

    /// Reads a text that has a type of its own, or nothing.
    pub(super) fn parse_or_null<T: FromStr>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, Error> {
        let parse = |text: String| text.parse().map_err(|_| self.damaged(column, &text));
        self.text_or_null(column)?.map(parse).transpose()
    }

    pub(super) fn digest_bytes(&self, column: &'static str) -> Result<Option<Digest>, Error> {
        let bytes: Option<Vec<u8>> = self.row.try_get(column)?;
        let Some(bytes) = bytes else { return Ok(None) };
        let wrong = |bytes: Vec<u8>| self.damaged(column, &format!("{bytes:02x?}"));
        bytes.try_into().map(|bytes| Some(Digest(bytes))).map_err(wrong)
    }

    pub(super) fn damaged(&self, column: &'static str, value: &str) -> Error {
        Error::Damaged { table: self.table, column, value: value.to_owned() }
    }
}

/// Writes a list or map. Those of the domain have text keys, so this cannot fail.
pub(super) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("lists and maps of names are JSON")
}

/// Writes a time or a length: SQLite and PostgreSQL have no unsigned integers.
pub(super) fn to_integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
