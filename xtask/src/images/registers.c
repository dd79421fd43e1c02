/*
 * Fills every register a program has, waits, and looks whether each still holds what it was given: in a loop in
 * user mode, in a sleep in the kernel, and with signals in between. Whoever stops the machine in the meantime must
 * not be noticed.
 *
 * Prints "ok N" after every hundred rounds and on SIGTERM, which ends it with 0; or "bad REGISTER", which ends it
 * with 1. With an argument the base of %gs is left alone: a kernel that software KVM runs natively cannot keep it.
 * Stands alone: no C library uses a register behind its back.
 */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

enum { SYS_write = 1, SYS_sigaction = 13, SYS_sleep = 35, SYS_setitimer = 38, SYS_exit = 60,
       SYS_sigaltstack = 131, SYS_arch_prctl = 158, SYS_clock_gettime = 228 };
enum { SIGALRM = 14, SIGTERM = 15 };
enum { SA_ONSTACK = 0x08000000, SA_RESTORER = 0x04000000 };
enum { SET_GS = 0x1001, SET_FS = 0x1002, GET_FS = 0x1003, GET_GS = 0x1004 };

/* What the assembler below uses, by name. */
enum { RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15, GENERAL };
enum vectors { SSE, AVX, AVX512 };
u64 want[GENERAL], got[GENERAL], spin, saved_stack;
u64 want_flags, got_flags;
u32 want_mxcsr, got_mxcsr, usual_mxcsr = 0x1f80;
struct { unsigned short control, r0, status, r1, tags, r2, rest[8]; u8 stack[8][10]; } got_x87;
u8 want_x87[8][10];
unsigned short want_control;
u8 want_vector[32][64] __attribute__((aligned(64))), got_vector[32][64] __attribute__((aligned(64)));
u64 want_mask[8], got_mask[8];
int vectors;

void spin_in_user_mode(void);
void sleep_in_kernel(void);
void spin_with_flags(void);

__asm__(
".altmacro\n"
".macro load_one name, at\n	movq want+8*(\\at)(%rip), %\\name\n.endm\n"
".macro store_one name, at\n	movq %\\name, got+8*(\\at)(%rip)\n.endm\n"
".macro with_general operation\n"
"	\\operation rax, 0\n	\\operation rbx, 1\n	\\operation rcx, 2\n	\\operation rdx, 3\n"
"	\\operation rsi, 4\n	\\operation rdi, 5\n	\\operation rbp, 6\n	\\operation r8, 8\n"
"	\\operation r9, 9\n	\\operation r10, 10\n	\\operation r11, 11\n	\\operation r12, 12\n"
"	\\operation r13, 13\n	\\operation r14, 14\n	\\operation r15, 15\n	\\operation rsp, 7\n"
".endm\n"
".macro vector_one instruction, size, n, buffer, direction\n"
"	.if \\direction\n	\\instruction \\buffer+64*\\n(%rip), %\\size\\()mm\\n\n"
"	.else\n	\\instruction %\\size\\()mm\\n, \\buffer+64*\\n(%rip)\n	.endif\n"
".endm\n"
".macro mask_one n, buffer, direction\n"
"	.if \\direction\n	kmovq \\buffer+8*\\n(%rip), %k\\n\n"
"	.else\n	kmovq %k\\n, \\buffer+8*\\n(%rip)\n	.endif\n"
".endm\n"
".macro vectors_to_or_from buffer, masks, direction\n"
"	cmpl $1, vectors(%rip)\n	ja 3f\n	je 2f\n"
"	.set at, 0\n	.rept 16\n	vector_one movdqu, x, %at, \\buffer, \\direction\n	.set at, at+1\n	.endr\n"
"	jmp 4f\n"
"2:	.set at, 0\n	.rept 16\n	vector_one vmovdqu, y, %at, \\buffer, \\direction\n	.set at, at+1\n	.endr\n"
"	jmp 4f\n"
"3:	.set at, 0\n	.rept 32\n	vector_one vmovdqu64, z, %at, \\buffer, \\direction\n	.set at, at+1\n	.endr\n"
"	.set at, 0\n	.rept 8\n	mask_one %at, \\masks, \\direction\n	.set at, at+1\n	.endr\n"
"4:\n"
".endm\n"
".macro fill\n"
"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
"	movq %rsp, saved_stack(%rip)\n"
"	vectors_to_or_from want_vector, want_mask, 1\n"
"	fninit\n"
"	.set at, 7\n	.rept 8\n	fldt want_x87+10*at(%rip)\n	.set at, at-1\n	.endr\n"
"	fldcw want_control(%rip)\n"
"	ldmxcsr want_mxcsr(%rip)\n"
"	with_general load_one\n"
".endm\n"
".macro empty\n"
"	with_general store_one\n"
"	movq saved_stack(%rip), %rsp\n"
"	stmxcsr got_mxcsr(%rip)\n	ldmxcsr usual_mxcsr(%rip)\n"
"	fnsave got_x87(%rip)\n"
"	vectors_to_or_from got_vector, got_mask, 0\n"
"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
"	ret\n"
".endm\n"
"spin_in_user_mode:\n"
"	fill\n"
"1:	decq spin(%rip)\n	jnz 1b\n"
"	empty\n"
"sleep_in_kernel:\n"
"	fill\n	syscall\n	empty\n"
/* LOOP counts without touching the flags. */
"spin_with_flags:\n"
"	movq spin(%rip), %rcx\n"
"	pushq want_flags(%rip)\n	popfq\n"
"1:	loop 1b\n"
"	pushfq\n	popq got_flags(%rip)\n"
"	pushq $0x202\n	popfq\n	ret\n"
"restore_after_signal:\n	movl $15, %eax\n	syscall\n"
".globl _start\n"
"_start:\n	xorl %ebp, %ebp\n	movq (%rsp), %rdi\n	andq $-16, %rsp\n	call run\n"
);

static long call(long number, long a, long b, long c, long d)
{
	register long fourth __asm__("r10") = d;
	long answer;
	__asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
			 : "rcx", "r11", "memory");
	return answer;
}

static void say(const char *word, const char *rest)
{
	char line[64];
	u32 length = 0;
	while (*word)
		line[length++] = *word++;
	while (*rest && length < sizeof(line) - 1)
		line[length++] = *rest++;
	line[length++] = '\n';
	call(SYS_write, 1, (long)line, length, 0);
}

static void say_ok(u64 rounds)
{
	char digits[21];
	char *at = digits + 20;
	*at = 0;
	do
		*--at = '0' + rounds % 10;
	while (rounds /= 10);
	say("ok ", at);
}

static void bad(const char *name)
{
	say("bad ", name);
	call(SYS_exit, 1, 0, 0, 0);
}

static void bad_number(const char *name, u32 number)
{
	char text[16];
	u32 length = 0;
	while (*name)
		text[length++] = *name++;
	if (number > 9)
		text[length++] = '0' + number / 10;
	text[length++] = '0' + number % 10;
	text[length] = 0;
	bad(text);
}

static u64 seed = 0x9e3779b97f4a7c15;

static u64 next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static volatile u64 alarms;
static volatile u32 stop;

static void on_signal(int signal)
{
	if (signal == SIGTERM)
		stop = 1;
	else
		alarms++;
}

static void choose_values(void)
{
	for (u32 at = 0; at < GENERAL; at++)
		want[at] = next();
	/* An address a program can have: with any other, software KVM emulates instead of running natively. */
	want[RSP] &= 0x7ffffffffff8;
	for (u32 at = 0; at < 32 * 8; at++)
		((u64 *)want_vector)[at] = next();
	for (u32 at = 0; at < 8; at++)
		want_mask[at] = next();
	for (u32 at = 0; at < 8; at++) {
		/* A normal number: the leading bit of the significand is set, the exponent is not at its ends. */
		u64 significand = next() | 1UL << 63;
		u32 exponent = (next() & 0x3fff) + 0x2000;
		for (u32 byte = 0; byte < 8; byte++)
			want_x87[at][byte] = significand >> 8 * byte;
		want_x87[at][8] = exponent;
		want_x87[at][9] = exponent >> 8 | (next() & 0x80);
	}
	/* Precision and rounding vary, exceptions stay masked. */
	want_control = 0x037f ^ (next() & 0x0c00);
	want_mxcsr = 0x1f80 | (next() & 0xe07f);
	/* CF PF AF ZF SF DF OF AC ID vary, the always-set bit and IF do not. */
	want_flags = 0x202 | (next() & 0x240cd5);
}

static void check_vectors(void)
{
	static const char *const names[] = { "xmm", "ymm", "zmm" };
	u32 width = 16 << vectors, count = vectors == AVX512 ? 32 : 16;
	for (u32 at = 0; at < count; at++)
		for (u32 byte = 0; byte < width; byte++)
			if (got_vector[at][byte] != want_vector[at][byte])
				bad_number(names[vectors], at);
	for (u32 at = 0; vectors == AVX512 && at < 8; at++)
		if (got_mask[at] != want_mask[at])
			bad_number("k", at);
}

static void check_x87(void)
{
	for (u32 at = 0; at < 8; at++)
		for (u32 byte = 0; byte < 10; byte++)
			if (got_x87.stack[at][byte] != want_x87[at][byte])
				bad_number("st", at);
	if (got_x87.control != want_control)
		bad("x87 control word");
	if (got_x87.status & 0x3800)
		bad("x87 top of stack");
	if (got_mxcsr != want_mxcsr)
		bad("mxcsr");
}

static void check_general(u32 changed)
{
	static const char *const names[] = { "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
					     "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
	for (u32 at = 0; at < GENERAL; at++)
		if (!(changed >> at & 1) && got[at] != want[at])
			bad(names[at]);
}

static u64 bases[2][2];
static u32 leave_gs;

static void set_bases(void)
{
	for (u32 at = 0; at < 2; at++)
		bases[at][0] = (u64)bases[at], bases[at][1] = next();
	call(SYS_arch_prctl, SET_FS, (long)bases[0], 0, 0);
	if (!leave_gs)
		call(SYS_arch_prctl, SET_GS, (long)bases[1], 0, 0);
}

static void check_bases(void)
{
	u64 value, base;
	__asm__ volatile("movq %%fs:8, %0" : "=r"(value));
	call(SYS_arch_prctl, GET_FS, (long)&base, 0, 0);
	if (value != bases[0][1] || base != (u64)bases[0])
		bad("fs base");
	if (leave_gs)
		return;
	__asm__ volatile("movq %%gs:8, %0" : "=r"(value));
	call(SYS_arch_prctl, GET_GS, (long)&base, 0, 0);
	if (value != bases[1][1] || base != (u64)bases[1])
		bad("gs base");
}

struct time { long seconds, nanoseconds; };

static void check_time(void)
{
	static struct time before;
	static u64 alarms_before, rounds_without;
	struct time now;
	call(SYS_clock_gettime, 1, (long)&now, 0, 0);
	if (now.seconds < before.seconds ||
	    (now.seconds == before.seconds && now.nanoseconds < before.nanoseconds))
		bad("monotonic clock");
	/* The timer is due every 3 ms and a round takes longer than that. */
	rounds_without = alarms == alarms_before ? rounds_without + 1 : 0;
	if (rounds_without > 100)
		bad("interval timer");
	alarms_before = alarms;
	before = now;
}

static void look_for_vectors(void)
{
	u32 a = 1, b, c = 0, d;
	__asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if ((c >> 27 & 3) != 3)
		return;
	u32 enabled, high;
	__asm__("xgetbv" : "=a"(enabled), "=d"(high) : "c"(0));
	if ((enabled & 6) == 6)
		vectors = AVX;
	a = 7, c = 0;
	__asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	/* Foundation, and the byte and word instructions for whole mask registers. */
	if ((enabled & 0xe6) == 0xe6 && (b >> 16 & 1) && (b >> 30 & 1))
		vectors = AVX512;
}

static u8 signal_stack[1 << 16];
extern char restore_after_signal[];

/* The stack pointer is one of the registers, so signals need a stack of their own. */
static void watch_signals(void)
{
	struct { void *base; int flags; u64 size; } stack = { signal_stack, 0, sizeof(signal_stack) };
	struct { void (*handler)(int); u64 flags; void *restorer; u64 mask; } action = {
		on_signal, SA_ONSTACK | SA_RESTORER, restore_after_signal, ~0UL
	};
	struct { long every[2], first[2]; } timer = { { 0, 3000 }, { 0, 3000 } };
	call(SYS_sigaltstack, (long)&stack, 0, 0, 0);
	call(SYS_sigaction, SIGALRM, (long)&action, 0, 8);
	call(SYS_sigaction, SIGTERM, (long)&action, 0, 8);
	call(SYS_setitimer, 0, (long)&timer, 0, 0);
}

static void round_in_user_mode(void)
{
	choose_values();
	set_bases();
	spin = 500000;
	spin_in_user_mode();
	check_general(0);
	check_x87();
	check_vectors();
	check_bases();
	spin = 300000;
	spin_with_flags();
	/* The trap, nested-task and resume flags are not a program's to keep. */
	if ((got_flags ^ want_flags) & 0x240cd5)
		bad("flags");
}

static void round_in_kernel(void)
{
	static const struct time pause = { 0, 2000000 };
	choose_values();
	want[RAX] = SYS_sleep;
	want[RDI] = (u64)&pause;
	want[RSI] = 0;
	sleep_in_kernel();
	/* The call answers in rax, and the processor uses rcx and r11 to come back. */
	check_general(1 << RAX | 1 << RCX | 1 << R11);
	if (got[RAX] != 0 && got[RAX] != (u64)-4)
		bad("answer of a system call");
	check_x87();
	check_vectors();
	check_bases();
}

__attribute__((used, noreturn)) void run(u64 arguments)
{
	u64 rounds = 0;
	leave_gs = arguments > 1;
	look_for_vectors();
	watch_signals();
	while (!stop) {
		round_in_user_mode();
		round_in_kernel();
		check_time();
		if (++rounds % 100 == 0)
			say_ok(rounds);
	}
	say_ok(rounds);
	call(SYS_exit, 0, 0, 0, 0);
	__builtin_unreachable();
}
