// promcheck reads alert rules and PromQL with Prometheus' own parsers: what `promtool check rules` does, without the rest.
//
// Arguments are files of rules. Expressions come on standard input, one a line, with "name<TAB>expression". What is wrong
// is said on standard output, and the exit status is 1 then.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	wrong := 0
	for _, path := range os.Args[1:] {
		_, problems := rulefmt.ParseFile(path, false)
		for _, problem := range problems {
			fmt.Printf("%s: %v\n", path, problem)
			wrong++
		}
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 0, 64*1024), 1024*1024)
	for lines.Scan() {
		name, expression, _ := strings.Cut(lines.Text(), "\t")
		if _, err := parser.ParseExpr(expression); err != nil {
			fmt.Printf("%s: %v\n", name, err)
			wrong++
		}
	}
	if wrong > 0 {
		os.Exit(1)
	}
}
