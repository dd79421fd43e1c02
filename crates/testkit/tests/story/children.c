/* 10,000 children with a status each, every other one with an orphan that only the first process can reap.
 * vfork: a copy of this program's memory for each would be most of the time on software KVM. */
#include <dirent.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int processes(void) {
    DIR *proc = opendir("/proc");
    int count = 0;
    for (struct dirent *entry; (entry = readdir(proc));)
        count += entry->d_name[0] >= '1' && entry->d_name[0] <= '9';
    closedir(proc);
    return count;
}

int main(void) {
    int before = processes();
    for (int number = 0; number < 10000; number++) {
        int status;
        pid_t child = vfork();
        if (child == 0) {
            if (number % 2 && vfork() == 0)
                _exit(1);
            _exit(number % 251);
        }
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != number % 251)
            return 9;
    }
    while (processes() != before)
        ;
    printf("%d processes\n", before);
    return 3;
}
