//! The core's errors as Python exceptions.

use pyo3::exceptions::{PyKeyboardInterrupt, PyMemoryError, PyOSError};
use pyo3::{PyErr, import_exception};

use crate::error::Error;

import_exception!(recurrust.exceptions, ConfigError);
import_exception!(recurrust.exceptions, DtypeError);
import_exception!(recurrust.exceptions, FileFormatError);
import_exception!(recurrust.exceptions, NonFiniteError);
import_exception!(recurrust.exceptions, ShapeError);
import_exception!(recurrust.exceptions, StateError);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Config { .. } => ConfigError::new_err(message),
            Error::Dtype { .. }
            | Error::Mismatch {
                types_only: true, ..
            } => DtypeError::new_err(message),
            Error::Shape { .. } | Error::Mismatch { .. } => ShapeError::new_err(message),
            Error::State(_) => StateError::new_err(message),
            Error::FileFormat(_) => FileFormatError::new_err(message),
            Error::NonFinite(_) => NonFiniteError::new_err(message),
            Error::OutOfMemory { .. } => PyMemoryError::new_err(message),
            Error::Io { path, code, reason } => match code {
                // With an error number, Python picks FileNotFoundError, PermissionError, ...
                Some(code) => PyOSError::new_err((code, reason, path)),
                None => PyOSError::new_err(message),
            },
            Error::Interrupted => PyKeyboardInterrupt::new_err(message),
        }
    }
}

/// An option of a later version.
pub fn not_available(option: &str) -> PyErr {
    ConfigError::new_err(format!(
        "{option}: not available yet; leave it at its default"
    ))
}
