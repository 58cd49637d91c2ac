//! Files of tensors.

use recurrust::error::Error;
use recurrust::files::{self, Content, Dtype, Tensor};

fn content() -> Content {
    let mut content = Content::default();
    let bytes = [1.5f32, -2.0, 0.25]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    content.tensors.insert(
        "weight".to_owned(),
        Tensor {
            dtype: Dtype::F32,
            shape: vec![3, 1],
            bytes,
        },
    );
    content
        .metadata
        .insert("kind".to_owned(), "test \"quoted\"".to_owned());
    content
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("net.safetensors");
    files::write(&path, &content()).expect("the folder is writable");
    assert_eq!(files::read(&path).expect("the file is whole"), content());
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .expect("the folder exists")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    assert_eq!(names, ["net.safetensors"], "no temporary file stays");
}

#[test]
fn the_same_content_gives_the_same_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut content = content();
    for name in 'a'..='z' {
        content.metadata.insert(name.to_string(), "x".to_owned());
        let tensor = content.tensors["weight"].clone();
        content.tensors.insert(name.to_string(), tensor);
    }
    let bytes = |name: &str| {
        let path = folder.path().join(name);
        files::write(&path, &content).expect("the folder is writable");
        assert_eq!(files::read(&path).expect("the file is whole"), content);
        std::fs::read(&path).expect("readable")
    };
    assert_eq!(bytes("one"), bytes("other"));
}

#[test]
fn every_truncation_and_every_flipped_byte_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("net.safetensors");
    files::write(&path, &content()).expect("the folder is writable");
    let whole = std::fs::read(&path).expect("readable");
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).expect("writable");
        assert!(
            matches!(files::read(&path), Err(Error::FileFormat(_))),
            "cut to {length} of {} bytes",
            whole.len()
        );
    }
    for at in 0..whole.len() {
        for flip in [1u8, 0x20, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            std::fs::write(&path, &damaged).expect("writable");
            assert!(
                matches!(files::read(&path), Err(Error::FileFormat(_))),
                "byte {at} xor {flip:#x}"
            );
        }
    }
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("net.safetensors");
    files::write(&path, &content()).expect("the folder is writable");
    let mut broken = content();
    if let Some(tensor) = broken.tensors.get_mut("weight") {
        tensor.shape = vec![4];
    }
    assert!(matches!(
        files::write(&path, &broken),
        Err(Error::FileFormat(_))
    ));
    assert_eq!(files::read(&path).expect("the file is whole"), content());
}

#[test]
fn a_missing_file_is_an_io_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = Some(2);
    let path = folder.path().join("nothing");
    let error = files::read(&path).expect_err("there is no such file");
    assert!(matches!(error, Error::Io { code, .. } if code == missing));
    let path = folder.path().join("nowhere").join("net.safetensors");
    let error = files::write(&path, &content()).expect_err("there is no such folder");
    assert_eq!(
        error,
        Error::Io {
            path: path.display().to_string(),
            code: missing,
            reason: "No such file or directory".to_owned()
        }
    );
}

#[cfg(unix)]
#[test]
fn links_are_followed_permissions_kept_and_devices_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, link) = (folder.path().join("net"), folder.path().join("link"));
    files::write(&file, &content()).expect("the folder is writable");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    std::os::unix::fs::symlink(&file, &link).expect("the folder is writable");
    files::write(&link, &Content::default()).expect("the folder is writable");
    assert!(link.is_symlink());
    assert_eq!(files::read(&file).expect("whole"), Content::default());
    let mode = std::fs::metadata(&file)
        .expect("it exists")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let device = std::path::Path::new("/dev/null");
    assert!(matches!(
        files::write(device, &content()),
        Err(Error::Io { .. })
    ));
}
