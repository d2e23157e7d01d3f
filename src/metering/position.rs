//! Where in a JSON document a scanner stands, in a form that can be copied and taken up again.

use crate::dialect::Field;

/// Containers of interest inside one another; the dialects need nine, arrays included.
const DEPTH_MAX: usize = 16;

/// State of the scanner between two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Before a value, or the end of an array.
    Value,
    /// Before a key, or the end of an object.
    Key,
    /// Inside a key whose beginning is kept.
    KeyText,
    /// Between key and value.
    Colon,
    /// Inside a string that the model produced.
    Content,
    /// Inside a string that is kept.
    Word,
    /// Inside a string that is skipped.
    OtherText,
    /// Inside a container that is skipped, or counted as a whole.
    OtherContainer,
    /// Inside a token count.
    Digits,
    /// Inside a number, `true`, `false` or `null` of no interest.
    OtherScalar,
    /// Behind the end of the outermost value.
    Over,
    Broken,
}

/// Position of the scanner in a document.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    pub state: State,
    /// The value that is being read or comes next.
    pub field: Field,
    /// The containers around it, outermost first; their number, and which are arrays.
    around: [Field; DEPTH_MAX],
    depth: usize,
    arrays: u32,
}

impl Position {
    /// At the start of a document.
    pub const START: Self = Self {
        state: State::Value,
        field: Field::Root,
        around: [Field::Ignored; DEPTH_MAX],
        depth: 0,
        arrays: 0,
    };

    /// The container around the present value, and whether it is an array.
    #[inline]
    pub fn innermost(&self) -> Option<(Field, bool)> {
        let index = self.depth.checked_sub(1)?;
        Some((*self.around.get(index)?, self.arrays >> index & 1 == 1))
    }

    /// Whether the present value is outermost.
    #[inline]
    pub fn is_outermost(&self) -> bool {
        self.depth == 0
    }

    /// Enters the array or object at this position; false if there is nothing of interest in it.
    #[inline]
    pub fn enter(&mut self, array: bool) -> bool {
        let of_interest = self.field.has_members() || (array && self.field != Field::Ignored);
        if !of_interest || matches!(self.field, Field::ContentJson | Field::Vector) {
            return false;
        }
        let Some(slot) = self.around.get_mut(self.depth) else { return false };
        *slot = self.field;
        self.arrays = self.arrays & !(1 << self.depth) | u32::from(array) << self.depth;
        self.depth += 1;
        self.state = if array { State::Value } else { State::Key };
        true
    }

    /// Leaves the innermost array or object, and returns its field; `None` if it is not of that kind.
    #[inline]
    pub fn leave(&mut self, array: bool) -> Option<Field> {
        let (field, _) = self.innermost().filter(|(_, is_array)| *is_array == array)?;
        self.depth -= 1;
        self.next();
        Some(field)
    }

    /// Moves behind a value: what comes next depends on the container around it.
    #[inline]
    pub fn next(&mut self) {
        self.state = match self.innermost() {
            None => State::Over,
            Some((field, true)) => {
                self.field = field;
                State::Value
            }
            Some((_, false)) => State::Key,
        };
    }
}
