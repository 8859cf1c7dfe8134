package chat

import "slices"

// parse reads a whole template.
func parse(source string) (body []stmt, marks bool) {
	if len(source) > maxSource {
		fail(0, Limit, "the template has %d bytes, more than %d", len(source), maxSource)
	}
	p := &parser{tokens: lex(source)}
	body = p.statements()
	if p.peek().kind != tokEOF {
		p.next()
		fail(p.peek().line, Syntax, "'%s' closes nothing", p.peek().text)
	}
	if len(p.unknown) > 0 {
		panic(p.unknown[0])
	}
	return body, p.marks
}

// statements reads up to a block tag with one of the names ends (not consumed beyond its "{%") or to the end.
func (p *parser) statements(ends ...string) []stmt {
	defer p.deeper()()
	var body []stmt
	for {
		t := p.peek()
		switch t.kind {
		case tokData:
			p.next()
			body = append(body, &textStmt{t.text})
		case tokVarBegin:
			p.next()
			body = append(body, &printStmt{p.tuple(tupleOptions{}), t.line})
			p.expect(tokVarEnd)
		case tokBlockBegin:
			name := p.tokens[p.pos+1]
			if name.kind == tokName && slices.Contains(ends, name.text) {
				p.next()
				return body
			}
			if name.kind == tokName && isCloser(name.text) && len(ends) == 0 {
				return body
			}
			p.next()
			body = append(body, p.statement())
			p.expect(tokBlockEnd)
		default:
			if len(ends) > 0 {
				fail(t.line, Syntax, "%s expected, found %s", "{% "+ends[len(ends)-1]+" %}", t.describe())
			}
			return body
		}
	}
}

func isCloser(name string) bool {
	return name == "else" || name == "elif" || len(name) > 3 && name[:3] == "end"
}

// block reads the rest of an opening tag and the statements up to one of ends.
func (p *parser) block(ends ...string) []stmt {
	p.skipOp(":")
	p.expect(tokBlockEnd)
	return p.statements(ends...)
}

// statement reads one block tag, behind its "{%", up to its last "%}" (not consumed).
func (p *parser) statement() stmt {
	t := p.expectName()
	switch t.text {
	case "if":
		return p.ifBlock()
	case "for":
		return p.forBlock(t.line)
	case "set":
		return p.set(t.line)
	case "macro":
		return p.macro(t.line)
	case "call":
		return p.call(t.line)
	case "filter":
		f := p.filterChain(p.filterBehindBar(nil, t.line))
		s := &filterStmt{filter: f, line: t.line, body: p.block("endfilter")}
		p.next()
		return s
	case "with":
		return p.with()
	case "generation":
		p.marks = true
		s := &generationStmt{line: t.line}
		s.body = p.apart(nil, func() []stmt { return p.block("endgeneration") })
		p.next()
		return s
	case "block":
		return p.namedBlock()
	case "print":
		items := []expr{p.expression()}
		for p.skipOp(",") {
			items = append(items, p.expression())
		}
		return &printStmt{&concatExpr{items}, t.line}
	case "break", "continue":
		if p.loops == 0 {
			fail(t.line, Syntax, "%q outside a for block", t.text)
		}
		if t.text == "break" {
			return &breakStmt{}
		}
		return &continueStmt{}
	case "include", "import", "from", "extends":
		fail(t.line, Security, "%q needs other files, which a chat template has none of", t.text)
	}
	if isCloser(t.text) {
		fail(t.line, Syntax, "%q closes a block that is not the innermost open one", t.text)
	}
	fail(t.line, Syntax, "unknown tag %q", t.text)
	return nil
}

// apart parses a body that becomes a macro (m nil: an anonymous one): loops around it cannot be left from inside.
func (p *parser) apart(m *macroDef, parse func() []stmt) []stmt {
	loops := p.loops
	p.loops = 0
	if m != nil {
		p.macros = append(p.macros, m)
		defer func() {
			p.macros = p.macros[:len(p.macros)-1]
			if len(p.macros) > 0 { // Jinja looks for these names in nested macros too
				outer := p.macros[len(p.macros)-1]
				outer.usesVar = outer.usesVar || m.usesVar
				outer.usesKw = outer.usesKw || m.usesKw
				outer.usesCaller = outer.usesCaller || m.usesCaller
			}
		}()
	}
	body := parse()
	p.loops = loops
	return body
}

func (p *parser) ifBlock() stmt {
	s := &ifStmt{}
	p.soft++
	defer func() { p.soft-- }()
	for {
		s.tests = append(s.tests, p.tuple(tupleOptions{noCondition: true}))
		s.bodies = append(s.bodies, p.block("elif", "else", "endif"))
		switch p.next().text {
		case "elif":
			continue
		case "else":
			s.other = p.block("endif")
			p.next()
		}
		return s
	}
}

func (p *parser) forBlock(line int) stmt {
	s := &forStmt{line: line}
	s.target = p.targets()
	if !p.skipName("in") {
		p.unexpected("'in'")
	}
	s.over = p.tuple(tupleOptions{noCondition: true, end: "recursive"})
	if p.skipName("if") {
		s.cond = p.expression()
	}
	s.recursive = p.skipName("recursive")
	p.loops++
	s.body = p.block("endfor", "else")
	p.loops--
	if p.next().text == "else" {
		s.other = p.block("endfor")
		p.next()
	}
	return s
}

func (p *parser) set(line int) stmt {
	target := p.assignTarget()
	if p.skipOp("=") {
		return &setStmt{target: target, value: p.tuple(tupleOptions{}), line: line}
	}
	s := &setBlockStmt{target: target, line: line}
	if p.isOp("|") {
		s.filter = p.filterChain(nil)
	}
	s.body = p.block("endset")
	p.next()
	return s
}

// assignTarget reads the left side of a set: names, or an attribute of a namespace.
func (p *parser) assignTarget() expr {
	if p.tokens[p.pos+1].kind == tokOp && p.tokens[p.pos+1].text == "." {
		t := p.expectName()
		p.next()
		return &attrExpr{of: &nameExpr{name: t.text, line: t.line}, name: p.expectName().text, line: t.line}
	}
	return p.targets()
}

// targets reads a name or a tuple of names, with or without parentheses.
func (p *parser) targets() expr {
	defer p.deeper()()
	var items []expr
	isTuple := false
	for {
		if p.skipOp("(") {
			items = append(items, p.targets())
			p.expectOp(")")
		} else {
			t := p.expectName()
			if slices.Contains([]string{"true", "false", "none", "True", "False", "None"}, t.text) {
				fail(t.line, Syntax, "%q cannot be assigned to", t.text)
			}
			items = append(items, &nameExpr{name: t.text, line: t.line})
		}
		if !p.skipOp(",") {
			break
		}
		isTuple = true
		if p.isOp("=") || p.isOp(")") || p.isName("in") || p.peek().kind == tokBlockEnd {
			break
		}
	}
	if isTuple {
		return &tupleExpr{items}
	}
	return items[0]
}

// filterChain reads |a|b(…) behind x.
func (p *parser) filterChain(x expr) expr {
	for p.isOp("|") {
		x = p.filter(x)
	}
	return x
}

// signature reads (a, b=1).
func (p *parser) signature(m *macroDef) {
	p.expectOp("(")
	for !p.isOp(")") {
		if len(m.params) > 0 {
			p.expectOp(",")
		}
		t := p.expectName()
		if slices.Contains(m.params, t.text) {
			fail(t.line, Syntax, "parameter %q twice", t.text)
		}
		m.params = append(m.params, t.text)
		if p.skipOp("=") {
			m.defaults = append(m.defaults, p.expression())
		} else if len(m.defaults) > 0 {
			fail(t.line, Syntax, "parameter %q without a default behind one with a default", t.text)
		}
	}
	p.next()
}

func (p *parser) macro(line int) stmt {
	m := &macroDef{name: p.expectName().text}
	m.body = p.apart(m, func() []stmt {
		p.signature(m)
		return p.block("endmacro")
	})
	p.next()
	return &macroStmt{m, line}
}

func (p *parser) call(line int) stmt {
	s := &callStmt{caller: &macroDef{name: "caller"}, line: line}
	s.caller.body = p.apart(s.caller, func() []stmt {
		if p.isOp("(") {
			p.signature(s.caller)
		}
		c, ok := p.unary(false).(*callExpr)
		if !ok {
			fail(line, Syntax, "a call expected behind {%% call")
		}
		s.call = c
		return p.block("endcall")
	})
	p.next()
	return s
}

func (p *parser) with() stmt {
	s := &withStmt{}
	for p.peek().kind != tokBlockEnd {
		if len(s.targets) > 0 {
			p.expectOp(",")
		}
		s.targets = append(s.targets, p.assignTarget())
		p.expectOp("=")
		s.values = append(s.values, p.expression())
	}
	s.body = p.block("endwith")
	p.next()
	return s
}

// namedBlock reads {% block name %}: without inheritance it is its body, in a scope of its own.
func (p *parser) namedBlock() stmt {
	p.expectName()
	p.skipName("scoped")
	p.skipName("required")
	s := &blockStmt{}
	s.body = p.apart(nil, func() []stmt { return p.block("endblock") })
	p.next()
	if p.peek().kind == tokName {
		p.next()
	}
	return s
}
