package chat

import (
	"fmt"
)

func (p *parser) primary() expr {
	t := p.peek()
	switch t.kind {
	case tokName:
		p.next()
		switch t.text {
		case "true", "True":
			return &constExpr{true}
		case "false", "False":
			return &constExpr{false}
		case "none", "None":
			return &constExpr{nil}
		}
		p.mention(t.text)
		return &nameExpr{name: t.text, line: t.line}
	case tokString:
		text := ""
		for p.peek().kind == tokString { // adjacent strings are one
			text += p.next().text
		}
		return &constExpr{text}
	case tokInt:
		p.next()
		return &constExpr{t.n}
	case tokFloat:
		p.next()
		return &constExpr{t.num}
	case tokOp:
		switch t.text {
		case "(":
			p.next()
			x := p.tuple(tupleOptions{parentheses: true})
			p.expectOp(")")
			return x
		case "[":
			return p.list()
		case "{":
			return p.dict()
		}
	}
	p.unexpected("a value")
	return nil
}

// mention notes a use of a name that macros treat specially.
func (p *parser) mention(name string) {
	if name != "varargs" && name != "kwargs" && name != "caller" {
		return
	}
	if len(p.macros) > 0 {
		m := p.macros[len(p.macros)-1]
		m.usesVar = m.usesVar || name == "varargs"
		m.usesKw = m.usesKw || name == "kwargs"
		m.usesCaller = m.usesCaller || name == "caller"
	}
}

type tupleOptions struct {
	parentheses bool // () is an empty tuple
	noCondition bool // elements are not conditional expressions (for x in y if z)
	end         string
}

// tuple parses one expression, or several with commas.
func (p *parser) tuple(o tupleOptions) expr {
	var items []expr
	isTuple := false
	for {
		t := p.peek()
		if t.kind == tokVarEnd || t.kind == tokBlockEnd || p.isOp(")") || o.end != "" && p.isName(o.end) {
			break
		}
		if o.noCondition {
			done := p.deeper()
			items = append(items, p.or())
			done()
		} else {
			items = append(items, p.expression())
		}
		if !p.skipOp(",") {
			break
		}
		isTuple = true
	}
	if !isTuple {
		if len(items) == 1 {
			return items[0]
		}
		if !o.parentheses {
			p.unexpected("an expression")
		}
	}
	return &tupleExpr{items}
}

func (p *parser) list() expr {
	p.next()
	var items []expr
	for !p.isOp("]") {
		if len(items) > 0 {
			p.expectOp(",")
			if p.isOp("]") {
				break
			}
		}
		items = append(items, p.expression())
	}
	p.next()
	return &listExpr{items}
}

func (p *parser) dict() expr {
	p.next()
	d := &dictExpr{}
	for !p.isOp("}") {
		if len(d.keys) > 0 {
			p.expectOp(",")
			if p.isOp("}") {
				break
			}
		}
		d.keys = append(d.keys, p.expression())
		p.expectOp(":")
		d.values = append(d.values, p.expression())
	}
	p.next()
	return d
}

func (p *parser) postfix(x expr) expr {
	for {
		switch t := p.peek(); {
		case p.skipOp("."):
			attr := p.next()
			switch attr.kind {
			case tokName:
				x = &attrExpr{of: x, name: attr.text, line: t.line}
			case tokInt:
				x = &itemExpr{of: x, index: &constExpr{attr.n}, line: t.line}
			default:
				fail(t.line, Syntax, "a name or number expected behind '.', found %s", attr.describe())
			}
		case p.skipOp("["):
			x = &itemExpr{of: x, index: p.subscript(), line: t.line}
		case p.isOp("("):
			x = &callExpr{fn: x, args: p.callArgs(), line: t.line}
		default:
			return x
		}
	}
}

func (p *parser) subscript() expr {
	var items []expr
	isTuple := false
	for !p.isOp("]") {
		if len(items) > 0 {
			p.expectOp(",")
			isTuple = true
		}
		items = append(items, p.subscriptPart())
	}
	p.next()
	if len(items) == 0 {
		fail(p.peek().line, Syntax, "empty index")
	}
	if isTuple {
		return &tupleExpr{items}
	}
	return items[0]
}

func (p *parser) subscriptPart() expr {
	var parts [3]expr
	if !p.isOp(":") {
		parts[0] = p.expression()
		if !p.isOp(":") {
			return parts[0]
		}
	}
	for i := 1; i < 3 && p.skipOp(":"); i++ {
		if !p.isOp("]") && !p.isOp(",") && !p.isOp(":") {
			parts[i] = p.expression()
		}
	}
	return &sliceExpr{parts[0], parts[1], parts[2]}
}

func (p *parser) callArgs() arguments {
	line := p.peek().line
	p.expectOp("(")
	var a arguments
	for first := true; !p.isOp(")"); first = false {
		if !first {
			p.expectOp(",")
			if p.isOp(")") {
				break
			}
		}
		switch t := p.peek(); {
		case p.skipOp("*"):
			if a.star != nil || a.starStar != nil {
				fail(line, Syntax, "repeated or misplaced '*' argument")
			}
			a.star = p.expression()
		case p.skipOp("**"):
			if a.starStar != nil {
				fail(line, Syntax, "repeated '**' argument")
			}
			a.starStar = p.expression()
		case t.kind == tokName && p.tokens[p.pos+1].kind == tokOp && p.tokens[p.pos+1].text == "=":
			p.pos += 2
			a.names = append(a.names, t.text)
			a.named = append(a.named, p.expression())
		default:
			if a.star != nil || a.starStar != nil || len(a.named) > 0 {
				fail(line, Syntax, "positional argument behind named ones")
			}
			a.pos = append(a.pos, p.expression())
		}
	}
	p.next()
	return a
}

func (p *parser) filtersAndTests(x expr) expr {
	for {
		switch {
		case p.isOp("|"):
			x = p.filter(x)
		case p.isName("is"):
			x = p.test(x)
		case p.isOp("("):
			line := p.peek().line
			x = &callExpr{fn: x, args: p.callArgs(), line: line}
		default:
			return x
		}
	}
}

// dotted reads name(.name)*.
func (p *parser) dotted() string {
	name := p.expectName().text
	for p.skipOp(".") {
		name += "." + p.expectName().text
	}
	return name
}

func (p *parser) filter(x expr) expr {
	line := p.peek().line
	p.expectOp("|")
	return p.filterBehindBar(x, line)
}

func (p *parser) filterBehindBar(x expr, line int) expr {
	f := &filterExpr{of: x, name: p.dotted(), line: line}
	if filterOf(f.name) == nil && p.soft == 0 {
		p.unknown = append(p.unknown, &Error{line, Syntax, fmt.Sprintf("no filter named %q", f.name)})
	}
	if p.isOp("(") {
		f.args = p.callArgs()
	}
	return f
}

func (p *parser) test(x expr) expr {
	line := p.next().line
	t := &testExpr{of: x, line: line}
	t.not = p.skipName("not")
	t.name = p.dotted()
	if testOf(t.name) == nil && p.soft == 0 {
		p.unknown = append(p.unknown, &Error{line, Syntax, fmt.Sprintf("no test named %q", t.name)})
	}
	switch next := p.peek(); {
	case p.isOp("("):
		t.args = p.callArgs()
	case next.kind == tokName && !p.isName("else", "or", "and"),
		next.kind == tokString, next.kind == tokInt, next.kind == tokFloat, p.isOp("["), p.isOp("{"):
		if p.isName("is") {
			fail(line, Syntax, "tests cannot be chained with is")
		}
		if p.isName("in", "if", "not") { // not an argument but what comes next
			break
		}
		t.args.pos = []expr{p.postfix(p.primary())}
	}
	return t
}
