#!/bin/sh
# Answers GET /cgi-bin/predict?0.3,-1.2,0.7,0 with what the model says: {"chance": 0.930, "model": "rows 3000"}.
# A model is what examples/federated leaves: the number of rows that it was learned from, and a weight a line.
printf 'Content-Type: application/json\r\n\r\n'
exec awk -v "row=$QUERY_STRING" '
    function power_of_e(x,  sum, term, n) { # not every busybox has exp()
        sum = term = 1
        for (n = 1; n < 80; n++) { term *= x / n; sum += term }
        return sum
    }
    NR == 1 { rows = $1; next }
    { weights[++count] = $1 }
    END {
        wanted = count - 1
        if (split(row, values, ",") != wanted || row !~ /^[-+.,0-9e]*$/) {
            example = "0.5"
            for (at = 2; at <= wanted; at++) example = example ",0.5"
            printf "{\"error\": \"say %d numbers, such as ?%s\"}\n", wanted, example
            exit
        }
        sum = weights[count]
        for (at = 1; at <= wanted; at++) sum += weights[at] * values[at]
        odds = power_of_e(sum < 0 ? (sum < -20 ? 20 : -sum) : (sum > 20 ? 20 : sum))
        chance = sum < 0 ? 1 / (1 + odds) : odds / (1 + odds)
        printf "{\"chance\": %.3f, \"model\": \"rows %d\"}\n", chance, rows
    }' /model/model.txt
