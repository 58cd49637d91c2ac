//! Reading and atomic writing of tensors: safetensors files with a digest of their content.

use std::collections::{BTreeMap, HashMap};
use std::fs::Permissions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{SafeTensors, TensorView};
use sha2::{Digest, Sha256};

pub use safetensors::Dtype;

use crate::error::{Error, Result};

/// Metadata key under which the digest stands.
const DIGEST: &str = "recurrust.digest";

/// What stands in place of the digest while it is computed.
const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One array as it stands in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Element type.
    pub dtype: Dtype,
    /// Shape, row-major.
    pub shape: Vec<usize>,
    /// The elements' bytes, little-endian.
    pub bytes: Vec<u8>,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Content {
    /// Arrays by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Free text by name.
    pub metadata: BTreeMap<String, String>,
}

/// Sorts the names in a file's header, which come in the random order of a hash map: the same
/// content gives the same file.
fn sort_header(bytes: &mut [u8]) -> Result<()> {
    let broken = |reason: &str| Error::FileFormat(format!("the header {reason}"));
    let (length, rest) = bytes
        .split_first_chunk_mut::<8>()
        .ok_or_else(|| broken("is missing"))?;
    let header = usize::try_from(u64::from_le_bytes(*length))
        .ok()
        .and_then(|length| rest.get_mut(..length))
        .ok_or_else(|| broken("is cut"))?;
    let names: serde_json::Value =
        serde_json::from_slice(header).map_err(|error| broken(&error.to_string()))?;
    let sorted = names.to_string();
    // The same text in another order; what is left is the padding.
    let text = header
        .get_mut(..sorted.len())
        .ok_or_else(|| broken("grew by sorting"))?;
    text.copy_from_slice(sorted.as_bytes());
    header[sorted.len()..].fill(b' ');
    Ok(())
}

/// Where the digest's characters stand in a file, if it has one.
fn digest_place(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let key = format!("\"{DIGEST}\":\"");
    let start = bytes
        .windows(key.len())
        .position(|window| window == key.as_bytes())?
        + key.len();
    let place = start..start + BLANK.len();
    bytes
        .get(place.clone())?
        .iter()
        .all(u8::is_ascii_hexdigit)
        .then_some(place)
}

/// SHA-256 of the whole file with zeros in the digest's place: no byte of it goes unnoticed.
fn digest(bytes: &[u8], place: &std::ops::Range<usize>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(&bytes[..place.start]);
    hasher.update(BLANK.as_bytes());
    hasher.update(&bytes[place.end..]);
    format!("{:x}", hasher.finalize())
}

fn io_error(path: &Path, error: &std::io::Error) -> Error {
    // An error about a temporary file keeps the kind of the operating system's, not its number.
    let code = error.raw_os_error().or(match error.kind() {
        ErrorKind::NotFound => Some(2),
        ErrorKind::PermissionDenied => Some(13),
        ErrorKind::NotADirectory => Some(20),
        ErrorKind::StorageFull => Some(28),
        ErrorKind::ReadOnlyFilesystem => Some(30),
        _ => None,
    });
    let reason = match code {
        Some(code) => std::io::Error::from_raw_os_error(code).to_string(),
        None => error.to_string(),
    };
    Error::Io {
        path: path.display().to_string(),
        code,
        reason: reason
            .split(" (os error")
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

/// Where a file really goes (behind symbolic links), and the permissions of the one that is there.
fn destination(path: &Path) -> std::io::Result<(PathBuf, Option<Permissions>)> {
    let path = match std::fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((path.to_owned(), None)),
        path => path?,
    };
    let metadata = std::fs::metadata(&path)?;
    if !metadata.is_file() {
        return Err(std::io::Error::other(
            "not a regular file; a model needs a file of its own",
        ));
    }
    Ok((path, Some(metadata.permissions())))
}

/// Writes to a temporary file beside `path` and renames it: a reader sees the old file or the
/// new one, never half of either.
///
/// # Errors
/// [`Error::Io`] when the file can't be written, [`Error::FileFormat`] when a tensor's bytes don't
/// fit its shape.
pub fn write(path: &Path, content: &Content) -> Result<()> {
    let mut views = Vec::with_capacity(content.tensors.len());
    for (name, tensor) in &content.tensors {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)
            .map_err(|error| Error::FileFormat(format!("tensor {name}: {error}")))?;
        views.push((name.as_str(), view));
    }
    let mut metadata: HashMap<String, String> = content.metadata.clone().into_iter().collect();
    metadata.insert(DIGEST.to_owned(), BLANK.to_owned());
    let mut bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|error| Error::FileFormat(error.to_string()))?;
    sort_header(&mut bytes)?;
    let place = digest_place(&bytes)
        .ok_or_else(|| Error::FileFormat("the digest found no place in the header".to_owned()))?;
    let text = digest(&bytes, &place);
    bytes[place].copy_from_slice(text.as_bytes());

    let kept = destination(path).map_err(|error| io_error(path, &error))?;
    let (path, permissions) = (kept.0.as_path(), kept.1);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".recurrust-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As an ordinary new file: the process's umask takes away what it wants.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(&bytes)?;
        if let Some(permissions) = permissions {
            file.as_file().set_permissions(permissions)?;
        }
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| io_error(path, &error))
}

/// Reads a file that [`write()`] wrote.
///
/// # Errors
/// [`Error::Io`] when the file can't be read, [`Error::FileFormat`] when it isn't a safetensors
/// file, has no digest, or doesn't match it.
pub fn read(path: &Path) -> Result<Content> {
    let bytes = std::fs::read(path).map_err(|error| io_error(path, &error))?;
    let refuse = |reason: String| Error::FileFormat(format!("{}: {reason}", path.display()));
    let (_, header) = SafeTensors::read_metadata(&bytes)
        .map_err(|error| refuse(format!("not a safetensors file ({error})")))?;
    let place = digest_place(&bytes)
        .ok_or_else(|| refuse("not a file of recurrust: it has no digest".to_owned()))?;
    if bytes[place.clone()] != *digest(&bytes, &place).as_bytes() {
        return Err(refuse(
            "damaged: its content doesn't match its digest; restore it from a copy".to_owned(),
        ));
    }
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|error| refuse(format!("damaged safetensors file ({error})")))?;
    let mut content = Content::default();
    for (name, view) in tensors.iter() {
        content.tensors.insert(
            name.to_owned(),
            Tensor {
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                bytes: view.data().to_vec(),
            },
        );
    }
    if let Some(metadata) = header.metadata() {
        content.metadata = metadata.clone().into_iter().collect();
    }
    content.metadata.remove(DIGEST);
    Ok(content)
}
