#!/usr/bin/env bash
# Removes one check at a time and prints which test of the attack suite then fails; see README.md
# beside it.
set -euo pipefail
cd "$(dirname "$0")/../.."

# value of the cfg fusion_ablate, test that must fail with it and pass without, and where it is if
# not among the attacks
rows=(
    "without-consistency rates::network::rates_of_tampering_with_fixed_positions_are_p"
    "without-accuracy servers::network::another_model_is_rejected_on_all_positions_and_on_some"
    "without-relabelling relabel::planned_batches_hold_relabelling_down"
    "without-blind relabel::planned_batches_hold_blind_servers_down"
    "first-rank-only revealed::a_changed_second_place_is_an_error_where_it_is_known"
    "quantised-digest revealed::the_ledger_knows_samples_whatever_the_format"
    "without-ot-check servers::network::corrupt_ot_messages_end_the_session"
    "shared-key samples::network::with_a_key_for_every_sample_a_server_finds_no_copies_and_is_rejected"
    "shared-key samples::attention::no_two_samples_and_with_keys_by_layer_no_two_layers_share_a_key_or_a_ciphertext"
    "without-rerandomisation curious::network::a_client_cannot_test_a_guess_of_the_weights"
    "without-rerandomisation curious::attention::a_client_cannot_test_a_guess_of_a_share_of_a_factor"
    "without-rerandomisation a_client_cannot_test_a_guess_of_the_servers_share -p fusion-backends --test product"
)

usage="usage: tests/ablate/run.sh [CHECK]
checks: $(printf '%s\n' "${rows[@]}" | cut -d' ' -f1 | uniq | paste -sd' ')"
case ${1:-} in
    -h | --help) echo "$usage" && exit ;;
    "") ;;
    *) [ $# -eq 1 ] && printf '%s\n' "${rows[@]}" | grep -q "^$1 " || { echo "$usage" >&2 && exit 2; } ;;
esac

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Compiles the workspace's crates, and no others, without one check. A compiler of its own for each
# check, so that cargo keeps what they make apart.
without() {
    local rustc=$PWD/target/ablate/$1
    mkdir -p target/ablate
    printf '#!/bin/sh\nexec "$@" --cfg '"'fusion_ablate=\"%s\"'"'\n' "$1" >"$rustc"
    chmod +x "$rustc"
    echo "$rustc"
}
# Whether a test passes, without a check if one is named: 0 or 1; anything else ends the script.
passes() {
    local test=$1 check=$2 rustc=
    shift 2
    [ -z "$check" ] || rustc=$(without "$check")
    env ${rustc:+RUSTC_WORKSPACE_WRAPPER="$rustc"} \
        cargo test --quiet "$@" -- --exact "$test" >"$log" 2>&1 && return 0
    grep -q "test result: FAILED. 0 passed; 1 failed" "$log" && return 1
    cat "$log" >&2
    exit 2
}

status=0
table="check removed              test that fails"
for row in "${rows[@]}"; do
    read -r check test place <<<"$row"
    read -ra place <<<"${place:--p fusion-tests --test attacks}"
    [ $# -eq 0 ] || [ "$1" = "$check" ] || continue
    verdict=$test
    if ! passes "$test" "" "${place[@]}"; then
        verdict="BROKEN: $test fails with every check in place" status=1
    elif passes "$test" "$check" "${place[@]}"; then
        verdict="BROKEN: $test passes" status=1
    fi
    table+=$(printf '\n%-26s %s' "$check" "$verdict")
done
if [ $# -eq 0 ] || [ "$1" = shared-key ]; then
    attack=samples::with_a_shared_key_a_server_finds_the_copies_and_gets_a_wrong_label_accepted
    passes "$attack" shared-key -p fusion-tests --test attacks || status=1
    table+=$(printf '\n%-26s %s: %s' shared-key "the attack succeeds" "$([ $status = 0 ] && echo "$attack" || echo BROKEN)")
fi
echo "$table"
exit $status
