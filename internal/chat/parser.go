package chat

import (
	"slices"
)

// Bounds on the source of a template. The largest in use are about 30 kB and nest less than 20 deep.
const (
	maxSource  = 1 << 20
	maxNesting = 150
)

type parser struct {
	tokens  []token
	pos     int
	nesting int
	soft    int         // inside if or a conditional expression: an unknown filter is an error only when reached
	unknown []*Error    // filters and tests that do not exist and are not inside a condition
	macros  []*macroDef // being parsed, innermost last
	loops   int         // enclosing for blocks, inside the innermost macro
	marks   bool        // the template has a generation block
}

func (p *parser) peek() token { return p.tokens[p.pos] }

func (p *parser) next() token {
	t := p.tokens[p.pos]
	if t.kind != tokEOF {
		p.pos++
	}
	return t
}

func (p *parser) isOp(op string) bool {
	t := p.peek()
	return t.kind == tokOp && t.text == op
}

func (p *parser) isName(names ...string) bool {
	t := p.peek()
	return t.kind == tokName && slices.Contains(names, t.text)
}

func (p *parser) skipOp(op string) bool {
	if p.isOp(op) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) skipName(name string) bool {
	if p.isName(name) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) unexpected(want string) {
	t := p.peek()
	fail(t.line, Syntax, "%s expected, found %s", want, t.describe())
}

func (p *parser) expectOp(op string) {
	if !p.skipOp(op) {
		p.unexpected("'" + op + "'")
	}
}

func (p *parser) expectName() token {
	if p.peek().kind != tokName {
		p.unexpected("a name")
	}
	return p.next()
}

func (p *parser) expect(kind tokenKind) {
	if p.peek().kind != kind {
		p.unexpected(token{kind: kind}.describe())
	}
	p.next()
}

// deeper bounds the recursion of the parser, and so of everything that walks the tree; call the result when done.
func (p *parser) deeper() func() {
	p.nesting++
	if p.nesting > maxNesting {
		fail(p.peek().line, Limit, "nested deeper than %d", maxNesting)
	}
	return func() { p.nesting-- }
}

func (p *parser) expression() expr {
	defer p.deeper()()
	return p.conditional()
}

func (p *parser) conditional() expr {
	line := p.peek().line
	mark := len(p.unknown)
	x := p.or()
	for p.skipName("if") {
		p.soft++
		test := p.or()
		var other expr
		if p.skipName("else") {
			other = p.expression()
		}
		p.soft--
		p.unknown = p.unknown[:mark] // the value is evaluated only if the test holds
		x = &condExpr{test: test, then: x, other: other, line: line}
	}
	return x
}

func (p *parser) or() expr {
	x := p.and()
	for p.isName("or") {
		line := p.next().line
		x = &binaryExpr{op: "or", x: x, y: p.and(), line: line}
	}
	return x
}

func (p *parser) and() expr {
	x := p.not()
	for p.isName("and") {
		line := p.next().line
		x = &binaryExpr{op: "and", x: x, y: p.not(), line: line}
	}
	return x
}

func (p *parser) not() expr {
	if p.isName("not") {
		defer p.deeper()()
		line := p.next().line
		return &unaryExpr{op: "not", x: p.not(), line: line}
	}
	return p.compare()
}

func (p *parser) compare() expr {
	line := p.peek().line
	x := p.sum()
	c := &compareExpr{x: x, line: line}
	for {
		t := p.peek()
		switch {
		case t.kind == tokOp && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, t.text):
			p.next()
			c.ops = append(c.ops, t.text)
		case p.skipName("in"):
			c.ops = append(c.ops, "in")
		case p.isName("not") && p.tokens[p.pos+1].kind == tokName && p.tokens[p.pos+1].text == "in":
			p.pos += 2
			c.ops = append(c.ops, "not in")
		default:
			if len(c.ops) == 0 {
				return x
			}
			return c
		}
		c.rest = append(c.rest, p.sum())
	}
}

// leftAssoc parses operand (op operand)*.
func (p *parser) leftAssoc(operand func() expr, ops ...string) expr {
	x := operand()
	for {
		t := p.peek()
		if t.kind != tokOp || !slices.Contains(ops, t.text) {
			return x
		}
		p.next()
		x = &binaryExpr{op: t.text, x: x, y: operand(), line: t.line}
	}
}

func (p *parser) sum() expr { return p.leftAssoc(p.concat, "+", "-") }

func (p *parser) concat() expr {
	x := p.product()
	if !p.isOp("~") {
		return x
	}
	parts := []expr{x}
	for p.skipOp("~") {
		parts = append(parts, p.product())
	}
	return &concatExpr{parts}
}

func (p *parser) product() expr { return p.leftAssoc(p.power, "*", "/", "//", "%") }

func (p *parser) power() expr {
	return p.leftAssoc(func() expr { return p.unary(true) }, "**")
}

func (p *parser) unary(withFilter bool) expr {
	var x expr
	if t := p.peek(); t.kind == tokOp && (t.text == "-" || t.text == "+") {
		defer p.deeper()()
		p.next()
		x = &unaryExpr{op: t.text, x: p.unary(false), line: t.line}
	} else {
		x = p.primary()
	}
	x = p.postfix(x)
	if withFilter {
		x = p.filtersAndTests(x)
	}
	return x
}
