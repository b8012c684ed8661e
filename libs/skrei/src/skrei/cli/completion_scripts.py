"""`skrei completion SHELL`: the scripts, which ask this program for everything."""

from skrei.cli import render
from skrei.cli.grammar import Misuse, Values

BASH = r"""# bash: source <(skrei completion bash)
_skrei() {
    local current="${COMP_WORDS[COMP_CWORD]}" line kind="" word behind=""
    # bash takes --name=value apart: what it wants back is the value alone
    [ "$current" = "=" ] || [ "${COMP_WORDS[COMP_CWORD-1]}" = "=" ] && behind=1
    COMPREPLY=()
    while IFS= read -r line; do
        if [ -z "$kind" ]; then kind="$line"; continue; fi
        word="${line%%$'\t'*}"
        [ -n "$behind" ] && word="${word#*=}"
        COMPREPLY+=("$(printf '%q' "$word")")  # bash puts it on the line as it is: nothing of it may mean more
    done < <(skrei __complete "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$current" 2>/dev/null)
    if [ "$kind" = ":file" ]; then
        # a shell that knows no compopt (3.2) would put a file's name on the line as it is
        compopt -o filenames 2>/dev/null && kind=""
        while IFS= read -r line; do
            [ -n "$kind" ] && line="$(printf '%q' "$line")"
            COMPREPLY+=("$line")
        done < <(compgen -f -- "$current")
    fi
}
complete -F _skrei skrei
"""

ZSH = r"""#compdef skrei
# zsh: source <(skrei completion zsh), after compinit
_skrei() {
    local -a lines described
    local kind line word
    lines=("${(@f)$(skrei __complete "${(@)words[2,CURRENT-1]}" "${words[CURRENT]}" 2>/dev/null)}")
    kind="${lines[1]}"
    for line in "${(@)lines[2,-1]}"; do
        word="${line%%$'\t'*}"
        [[ "$line" == *$'\t'* ]] && described+=("${word//:/\\:}:${line#*$'\t'}") || described+=("${word//:/\\:}")
    done
    (( ${#described} )) && _describe 'skrei' described
    [[ "$kind" == ":file" ]] && _files
}
compdef _skrei skrei
"""

FISH = r"""# fish: skrei completion fish > ~/.config/fish/completions/skrei.fish
function __skrei_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines (skrei __complete $words[2..-1] "$current" 2>/dev/null)
    test (count $lines) -gt 1; and printf '%s\n' $lines[2..-1]
    test "$lines[1]" = ":file"; and __fish_complete_path "$current"
end
complete -c skrei -f -a '(__skrei_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def completion(values: Values) -> None:
    """Print a shell's script."""
    shell = values.text("SHELL").lower()
    if shell not in SCRIPTS:
        raise Misuse(f"skrei completion: {shell}: known are {', '.join(SCRIPTS)}.", hint="skrei completion --help")
    render.output_text(SCRIPTS[shell])
