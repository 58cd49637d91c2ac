//! Memory of parameters.

use recurrust::error::Error;
use recurrust::parameters::Parameters;

fn parameters() -> Parameters<f32> {
    Parameters::new(vec![
        ("weight".to_owned(), vec![3, 5]),
        ("empty".to_owned(), vec![0, 2]),
        ("bias".to_owned(), vec![3]),
    ])
    .expect("small parameters fit into memory")
}

#[test]
fn each_parameter_is_aligned_and_zero() {
    let parameters = parameters();
    assert_eq!(parameters.count(), 18);
    for index in 0..3 {
        assert_eq!(parameters.data_ptr(index).addr() % 64, 0);
        assert!(parameters.read().slice(index).iter().all(|&v| v == 0.0));
    }
    assert_eq!(parameters.index_of("bias"), Some(2));
    assert_eq!(parameters.index_of("nothing"), None);
}

#[test]
fn writing_changes_the_version_and_only_its_parameter() {
    let parameters = parameters();
    let before = parameters.version();
    parameters.write().slice_mut(2).fill(2.5);
    assert_ne!(parameters.version(), before);
    assert_eq!(parameters.read().slice(2), [2.5; 3]);
    assert_eq!(parameters.read().slice(0), [0.0; 15]);
}

#[test]
fn versions_of_two_modules_never_meet() {
    assert_ne!(parameters().version(), parameters().version());
}

#[test]
fn gradients_exist_once_asked_for_and_add_up() {
    let parameters = parameters();
    assert!(!parameters.has_gradients());
    let mut scratch = parameters.gradient_scratch().expect("fits into memory");
    let range = parameters.entries()[2].range();
    scratch.as_mut_slice()[range].copy_from_slice(&[1.0, 2.0, 3.0]);
    for _ in 0..2 {
        parameters
            .gradients()
            .expect("fits into memory")
            .add(&scratch);
    }
    assert!(parameters.has_gradients());
    let gradients = parameters.gradients().expect("fits into memory");
    assert_eq!(gradients.slice(2), [2.0, 4.0, 6.0]);
    assert_eq!(gradients.slice(0), [0.0; 15]);
}

#[test]
fn absurd_sizes_are_refused() {
    let huge = Parameters::<f64>::new(vec![("w".to_owned(), vec![1 << 40, 1 << 40])]);
    assert!(matches!(huge, Err(Error::OutOfMemory { .. })));
    let large = Parameters::<f64>::new(vec![("w".to_owned(), vec![1 << 45])]);
    assert!(matches!(large, Err(Error::OutOfMemory { .. })));
}
