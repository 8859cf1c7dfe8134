package stats

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"plumb/internal/golden"
)

func near(t *testing.T, what string, got, want, tol float64) {
	t.Helper()
	if d := math.Abs(got - want); !(d <= tol*max(1, math.Abs(want))) {
		t.Errorf("%s is %.15g, want %.15g", what, got, want)
	}
}

type winCase struct {
	Outcomes  []float64  `json:"outcomes_first_wins_1_tie_half"`
	Wins      int        `json:"wins"`
	Ties      int        `json:"ties"`
	Losses    int        `json:"losses"`
	Rate      float64    `json:"win_rate_ties_half"`
	SE        float64    `json:"standard_error"`
	Sign      float64    `json:"sign_test_two_sided"`
	Wilson    [2]float64 `json:"interval_95_without_ties_wilson"`
	Clopper   [2]float64 `json:"interval_95_without_ties_clopper_pearson"`
	Bootstrap struct {
		Level float64    `json:"level"`
		Lower [2]float64 `json:"lower_between"`
		Upper [2]float64 `json:"upper_between"`
	} `json:"bootstrap_percentile_95"`
}

type pairedCase struct {
	A, B       []float64
	Difference float64    `json:"mean_difference"`
	SE         float64    `json:"standard_error"`
	Interval   [2]float64 `json:"t_interval_95"`
	T          struct {
		T, P float64
	} `json:"paired_t"`
}

type golds struct {
	WinRates  []winCase        `json:"win_rates"`
	Paired    []pairedCase     `json:"paired"`
	Diversity []map[string]any `json:"diversity"`
}

// The stored values are scipy's and statsmodels'; closed formulas agree within 1e-12 relative, special functions (the
// quantiles of beta and Student) within 1e-9.
func TestAgainstReference(t *testing.T) {
	var g golds
	golden.JSON(t, golden.Dir(t, "objective/statistics.json"), &g)
	if len(g.WinRates) == 0 || len(g.Paired) == 0 || len(g.Diversity) == 0 {
		t.Fatal("the reference is empty")
	}
	for i, c := range g.WinRates {
		w := WinRateOf(c.Outcomes)
		if w.Wins != c.Wins || w.Ties != c.Ties || w.Losses != c.Losses {
			t.Errorf("case %d: counts %d %d %d", i, w.Wins, w.Ties, w.Losses)
		}
		near(t, "win rate", w.Rate, c.Rate, 1e-12)
		near(t, "standard error", w.SE, c.SE, 1e-12)
		near(t, "sign test", w.SignP, c.Sign, 1e-9)
		n := c.Wins + c.Losses
		wi, cp := Wilson(float64(c.Wins), float64(n), 0.95), ClopperPearson(c.Wins, n, 0.95)
		near(t, "Wilson low", wi.Low, c.Wilson[0], 1e-9)
		near(t, "Wilson high", wi.High, c.Wilson[1], 1e-9)
		near(t, "Clopper-Pearson low", cp.Low, c.Clopper[0], 1e-9)
		near(t, "Clopper-Pearson high", cp.High, c.Clopper[1], 1e-9)
		b := Bootstrap(c.Outcomes, 4000, 0.95, uint64(i))
		if b.Low < c.Bootstrap.Lower[0] || b.Low > c.Bootstrap.Lower[1] || b.High < c.Bootstrap.Upper[0] || b.High > c.Bootstrap.Upper[1] {
			t.Errorf("case %d: bootstrap %v, want within %v and %v", i, b, c.Bootstrap.Lower, c.Bootstrap.Upper)
		}
	}
	for _, c := range g.Paired {
		tt, p, ci := PairedT(c.A, c.B, 0.95)
		near(t, "paired t", tt, c.T.T, 1e-12)
		near(t, "paired p", p, c.T.P, 1e-9)
		near(t, "t interval low", ci.Low, c.Interval[0], 1e-9)
		near(t, "t interval high", ci.High, c.Interval[1], 1e-9)
	}
	for _, c := range g.Diversity {
		var texts [][]int32
		for _, row := range c["token_ids"].([]any) {
			var ids []int32
			for _, v := range row.([]any) {
				ids = append(ids, int32(v.(float64)))
			}
			texts = append(texts, ids)
		}
		for n := 1; n <= 4; n++ {
			near(t, "distinct", Distinct(texts, n), c[fmt.Sprintf("distinct_%d_corpus", n)].(float64), 1e-12)
			for i, want := range c[fmt.Sprintf("repeated_%dgram_share", n)].([]any) {
				near(t, "repeated", Repeated(texts[i], n), want.(float64), 1e-12)
			}
		}
	}
}

// One pair, and pairs that do not vary, leave nothing to test.
func TestPairedTNeedsVariation(t *testing.T) {
	for _, a := range [][]float64{nil, {1}, {1, 2, 3}} {
		tt, p, ci := PairedT(a, make([]float64, len(a)), 0.95)
		if len(a) < 2 && !(math.IsNaN(tt) && math.IsNaN(p) && math.IsNaN(ci.Low) && math.IsNaN(ci.High)) {
			t.Errorf("%v: t %g, p %g, interval %v", a, tt, p, ci)
		}
		if len(a) == 3 && math.IsNaN(p) {
			t.Errorf("%v: p is NaN", a)
		}
	}
	if _, p, _ := PairedT([]float64{2, 3}, []float64{1, 2}, 0.95); !math.IsNaN(p) {
		t.Errorf("differences that are all 1: p %g", p)
	}
}

func TestNumberIsNullWhereItIsNone(t *testing.T) {
	text, err := json.Marshal([]Number{1.5, Number(math.NaN()), Number(math.Inf(1))})
	if err != nil || string(text) != "[1.5,null,null]" {
		t.Fatalf("%s, %v", text, err)
	}
	var back []Number
	if err := json.Unmarshal(text, &back); err != nil || back[0] != 1.5 || !math.IsNaN(float64(back[1])) {
		t.Errorf("%v, %v", back, err)
	}
}

// By hand: quantiles of 1,2,3,4 by linear interpolation.
func TestQuantile(t *testing.T) {
	for q, want := range map[float64]float64{0: 1, 0.5: 2.5, 1: 4, 0.25: 1.75} {
		near(t, "quantile", Quantile([]float64{4, 1, 3, 2}, q), want, 1e-15)
	}
	if !math.IsNaN(Quantile(nil, 0.5)) {
		t.Error("a quantile of nothing is a number")
	}
}

// The bounds of none and of all are 0 and 1 but for rounding, which never leads outside.
func TestWilsonStaysInside(t *testing.T) {
	for n := 1.0; n < 200; n++ {
		if none, all := Wilson(0, n, 0.95), Wilson(n, n, 0.95); none.Low > 1e-15 || none.Low < 0 || all.High > 1 || all.High < 1-1e-15 {
			t.Errorf("n = %g: none %v, all %v", n, none, all)
		}
	}
}
