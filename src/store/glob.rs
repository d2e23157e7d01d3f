//! Texts with `*` (anything) and `?` (one character), as either database matches them. Both tell upper case from lower.

use sea_orm::sea_query::{BinOper, Expr, ExprTrait as _};
use sea_orm::{ColumnTrait, DbBackend};

/// Operator and pattern; `None` if it is a plain text.
pub(super) fn pattern(text: &str, backend: DbBackend) -> Option<(&'static str, String)> {
    if !text.contains(['*', '?']) {
        return None;
    }
    if backend != DbBackend::Postgres {
        return Some(("GLOB", text.replace('[', "[[]")));
    }
    let mut like = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '*' => like.push('%'),
            '?' => like.push('_'),
            '%' | '_' | '\\' => like.extend(['\\', c]),
            c => like.push(c),
        }
    }
    Some(("LIKE", like))
}

/// Whether a column is this text, or matches it.
pub(super) fn matches<C: ColumnTrait>(column: C, text: &str, backend: DbBackend) -> Expr {
    match pattern(text, backend) {
        None => column.eq(text),
        Some((_, like)) if backend == DbBackend::Postgres => column.like(like),
        Some((_, glob)) => Expr::col(column.as_column_ref()).binary(BinOper::Custom("GLOB"), glob),
    }
}
