# The ways into the kernel: its start, system calls, and faults.
        .section .text.start, "ax"
        .globl  _start
_start: call    start_kernel

        .text
# A Linux system call: number in rax, arguments in rdi, rsi, rdx, r10, r8, r9; rcx and r11 hold the caller's rip and flags. All
# runs in ring 0, so the return is a jump.
        .globl  system_call_entry
system_call_entry:
        mov     %rsp, caller_stack(%rip)
        mov     $0x9f000, %esp
        push    %rcx
        push    %r11
        push    %rdi
        push    %rsi
        push    %rdx
        push    %r8
        push    %r9
        push    %r10
        mov     %r8, %r9                        # to the order of a C function: number, then the arguments but the last
        mov     %r10, %r8
        mov     %rdx, %rcx
        mov     %rsi, %rdx
        mov     %rdi, %rsi
        mov     %rax, %rdi
        call    system_call
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rdx
        pop     %rsi
        pop     %rdi
        pop     %r11
        pop     %rcx
        push    %r11
        popfq
        mov     caller_stack(%rip), %rsp
        jmp     *%rcx

        .bss
caller_stack:
        .quad   0

        .text
# 32 entries of 16 bytes: each leaves its number and an error code on the stack, as some faults do by themselves.
        .globl  fault_entries
        .align  16
fault_entries:
        .set    number, 0
        .rept   32
        .align  16
        .if (number == 8) || ((number >= 10) && (number <= 14)) || (number == 17) || (number == 21)
        .else
        push    $0
        .endif
        push    $number
        jmp     any_fault
        .set    number, number + 1
        .endr
any_fault:
        mov     %rsp, %rdi
        and     $-16, %rsp
        call    fault
        .section .note.GNU-stack, "", @progbits
