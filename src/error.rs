//! The one error type of the core.

use std::borrow::Cow;

/// Everything that can go wrong in the core.
///
/// Each variant becomes one Python exception (see `bindings/errors.rs`). Messages name the
/// argument, what was expected and what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An array has the wrong number of axes or the wrong size along one of them.
    #[error("{argument}: expected {expected}, got {got}")]
    Shape {
        /// Name of the argument.
        argument: Cow<'static, str>,
        /// What would have been right.
        expected: String,
        /// What came.
        got: String,
    },
    /// An option has a value that it can't have.
    #[error("{argument}: expected {expected}, got {got}")]
    Config {
        /// Name of the option.
        argument: Cow<'static, str>,
        /// What would have been right.
        expected: String,
        /// What came.
        got: String,
    },
    /// An argument has a type or element type that can't be used.
    #[error("{argument}: expected {expected}, got {got}")]
    Dtype {
        /// Name of the argument.
        argument: Cow<'static, str>,
        /// What would have been right.
        expected: String,
        /// What came.
        got: String,
    },
    /// Several tensors of a mapping don't fit.
    #[error("{text}")]
    Mismatch {
        /// A list of every difference.
        text: String,
        /// Whether all of them are about types.
        types_only: bool,
    },
    /// An object is not in the state that the call needs.
    #[error("{0}")]
    State(String),
    /// A file is damaged or foreign.
    #[error("{0}")]
    FileFormat(String),
    /// The operating system refused to read or write a file.
    #[error("{path}: {reason}")]
    Io {
        /// The file.
        path: String,
        /// The operating system's error number, where there is one.
        code: Option<i32>,
        /// The operating system's reason.
        reason: String,
    },
    /// A value is NaN or infinite where that can't be used.
    #[error("{0}")]
    NonFinite(String),
    /// The allocator refused.
    #[error("not enough memory{}", bytes_text(*bytes))]
    OutOfMemory {
        /// How much was asked for.
        bytes: usize,
    },
    /// The caller asked to stop (Ctrl-C).
    #[error("interrupted")]
    Interrupted,
}

/// The result of every fallible call of the core.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Shape`].
    pub fn shape(
        argument: impl Into<Cow<'static, str>>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Shape {
            argument: argument.into(),
            expected: expected.into(),
            got: got.into(),
        }
    }

    /// An [`Error::Config`].
    pub fn config(
        argument: impl Into<Cow<'static, str>>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Config {
            argument: argument.into(),
            expected: expected.into(),
            got: got.into(),
        }
    }

    /// The error of an option, with the name of what has the option before it; others as they are.
    #[must_use]
    pub fn inside(self, owner: &str) -> Self {
        match self {
            Self::Config {
                argument,
                expected,
                got,
            } => Self::config(format!("{owner}: {argument}"), expected, got),
            other => other,
        }
    }

    /// An [`Error::Dtype`].
    pub fn dtype(
        argument: impl Into<Cow<'static, str>>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Dtype {
            argument: argument.into(),
            expected: expected.into(),
            got: got.into(),
        }
    }
}

/// How much memory was asked for, where that is a number worth reading.
fn bytes_text(bytes: usize) -> String {
    if bytes == usize::MAX {
        ": the sizes ask for more than any machine has".to_owned()
    } else {
        format!(" for {bytes} bytes")
    }
}

/// A shape as Python writes it: `(3, 5)`, `(3,)`, `()`.
#[must_use]
pub fn shape_text(shape: &[usize]) -> String {
    if let [one] = shape {
        return format!("({one},)");
    }
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("({})", sizes.join(", "))
}

/// Product of sizes, or [`Error::OutOfMemory`] where no machine could hold so many elements.
///
/// # Errors
/// [`Error::OutOfMemory`] when the product times 16 bytes doesn't fit the address space.
pub fn checked_size(sizes: &[usize]) -> Result<usize> {
    let product = if sizes.contains(&0) {
        Some(0)
    } else {
        sizes
            .iter()
            .try_fold(1usize, |product, &size| product.checked_mul(size))
    };
    product
        .filter(|&count| count <= isize::MAX as usize / 16)
        .ok_or(Error::OutOfMemory { bytes: usize::MAX })
}
