# bash completion for weightbridge(1). tests/blackbox/cli_docs.py keeps it complete.
_weightbridge() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
  local source='--recipe --prefix --set --limit --json --help'
  local target='--target --dtype --mtp --expert-widths'
  COMPREPLY=()
  case $prev in
    --target) COMPREPLY=($(compgen -W 'auto exact stock shape-match' -- "$cur")); return ;;
    --bits) COMPREPLY=($(compgen -W '2 3 4 5 6 8 auto' -- "$cur")); return ;;
    --mode) COMPREPLY=($(compgen -W 'affine mxfp4 mxfp8 nvfp4' -- "$cur")); return ;;
    --mix) COMPREPLY=($(compgen -W 'mixed_2_6 mixed_3_4 mixed_3_6 mixed_4_6' -- "$cur")); return ;;
    --dtype) COMPREPLY=($(compgen -W 'source f32 f16 bf16' -- "$cur")); return ;;
    --mtp) COMPREPLY=($(compgen -W 'drop keep' -- "$cur")); return ;;
    --expert-widths) COMPREPLY=($(compgen -W 'document smart' -- "$cur")); return ;;
    -o | --output) compopt -o nospace 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur")); return ;;
    --as) COMPREPLY=($(compgen -W 'mlx-lm swift' -- "$cur")); return ;;
    --temperature | --top-k | --top-p | --min-p | --repetition-penalty | --seed | --stop) return ;;
    --decode | --context | --repeat) return ;;
    --name | --beside-name | --host | --port | --api-key | --cors | --allow-host) return ;;
    --max-active | --max-waiting | --max-context | --max-body | --max-connections) return ;;
    --time-limit | --read-timeout | --write-timeout | --idle-timeout | --grace) return ;;
    --prompt | --window | --max-windows | --max-tokens | --max-kl | --min-top1 | --max-abs) return ;;
    --max-perplexity-ratio) return ;;
    --set | --limit | --prefix | --shard-size | --threads | --group-size | --size) return ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W 'inspect plan convert verify logits generate chat serve bench recipes --help --version' -- "$cur"))
    return
  fi
  local run='--tokens --tokenizer --as --threads'
  local says='--max-tokens --temperature --top-k --top-p --min-p --repetition-penalty --seed --stop --no-speculation'
  local quant='--bits --group-size --mode --mix --quant-rules --size'
  local words=''
  case ${COMP_WORDS[1]} in
    inspect) words="$source --tensors --check" ;;
    plan) words="$source $target $quant --shard-size --ranks --estimate" ;;
    convert)
      words="$source $target $quant -o --output --tokenizer --calibrate --calibrate-steps"
      words="$words --shard-size --threads --no-sync --sha256"
      words="$words --no-crc --check --force --resume --consume"
      ;;
    verify)
      words="$source $run --text --reference --report --window --max-windows --max-kl --min-top1"
      words="$words --max-abs --max-perplexity-ratio"
      ;;
    logits) words="$source $run --text --hidden -o --output" ;;
    generate)
      words="$source $run $says --prompt"
      ;;
    chat)
      words="$source --tokenizer --as --threads $says --system --max-context --no-history"
      ;;
    serve)
      words="$source --beside --name --beside-name --tokenizer --as --threads --no-speculation"
      words="$words --host --port --api-key --cors --allow-host --max-active --max-waiting"
      words="$words --max-context --max-body --max-connections --time-limit --read-timeout"
      words="$words --write-timeout --idle-timeout --grace"
      ;;
    bench) words="$source --prompt --decode --context --repeat --threads" ;;
    recipes)
      if [ "$COMP_CWORD" -eq 2 ]; then words='show check new solve --json --help'
      else words="$source --flat --ask-all --reference -o --output --threads --json --help"; fi
      ;;
  esac
  if [[ $cur == -* ]] || { [ "${COMP_WORDS[1]}" = recipes ] && [ "$COMP_CWORD" -eq 2 ]; }; then
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  else
    local IFS=$'\n'
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -F _weightbridge weightbridge
