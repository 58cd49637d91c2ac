#!/bin/sh
# Rules of the house that no linter knows; see CONTRIBUTING.md.
set -eu
failed=0

complain() {
    echo "architecture: $1" >&2
    echo "$2" >&2
    failed=1
}

found=$(grep -rnE '\b(pyo3|numpy)::' src --include='*.rs' | grep -v '^src/bindings/' || true)
[ -z "$found" ] || complain 'only src/bindings may know Python:' "$found"

found=$(grep -rnE '\bunsafe\b' src --include='*.rs' |
    grep -vE '^src/(simd|engine)/|^src/parameters\.rs:|^src/bindings/arrays\.rs:' || true)
[ -z "$found" ] || complain 'unsafe code outside of the files that may have it:' "$found"

found=$(grep -rnE 'general_mat_mul|matrixmultiply' src --include='*.rs' |
    grep -v '^src/engine/products.rs:' || true)
[ -z "$found" ] || complain 'only src/engine/products.rs may name a product library:' "$found"

# Arrows point down: a module may use those listed after it.
layers='bindings streaming layers optimizers losses regularization engine cells simd files parameters init random lengths memory interrupt float error'
above=''
for layer in $layers; do
    for upper in $above; do
        found=$(grep -rnE "use crate::$upper\b|crate::$upper::" "src/$layer" "src/$layer.rs" \
            --include='*.rs' 2>/dev/null || true)
        [ -z "$found" ] || complain "$layer must not use $upper:" "$found"
    done
    above="$above $layer"
done

found=$(cargo tree --edges normal --prefix none | grep -E '^(pyo3|numpy) ' || true)
[ -z "$found" ] || complain 'without the feature python the crate must not need Python:' "$found"

count=$(cargo tree --features python --edges normal --prefix none | grep -oE '^ndarray v[^ ]+' | sort -u | wc -l)
[ "$count" -eq 1 ] || complain 'there must be exactly one ndarray, found:' "$count"

exit $failed
